"""What nova-compute does, as it starts, with each exception of ours: the real ComputeManager's own code."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova.compute import manager, power_state, vm_states

from nova import exception
from nova_side import a_vif, an_instance

pytestmark = pytest.mark.usefixtures("nova")


def start(error: Exception) -> Any:
    """ComputeManager._init_instance for an active instance whose VIFs cannot be plugged; the manager, for a look."""
    instance = an_instance()
    instance.host, instance.vm_state, instance.task_state = "h", vm_states.ACTIVE, None
    instance.power_state = power_state.RUNNING
    fake = mock.MagicMock(host="h")
    fake._get_power_state.return_value = power_state.RUNNING
    fake._retry_reboot.return_value = (False, None)
    fake.driver.plug_vifs.side_effect = error
    with mock.patch.object(type(instance), "get_network_info", return_value=[a_vif()]):
        manager.ComputeManager._init_instance(fake, None, instance)
    return fake


def test_one_vif_s_trouble_puts_its_instance_into_error_and_nova_compute_starts() -> None:
    found = start(exception.VirtualInterfacePlugException("VIF x cannot be plugged: because"))
    found._set_instance_obj_error_state.assert_called_once()


def test_a_missing_vifplugd_ends_nova_compute_and_blames_no_instance() -> None:
    with pytest.raises(exception.InternalError, match="vifplugd"):
        start(exception.InternalError("VIF x cannot be plugged: vifplugd does not run here"))


def test_without_the_plugin_nova_compute_does_not_start_beside_such_a_guest() -> None:
    """docs/openstack-nova.md, on taking it away, builds on that."""
    from nova.network import os_vif_util

    bare = os_vif_util.nova_to_osvif_vif.__vifplug_original__
    with pytest.raises(exception.NovaException, match="Unsupported VIF type ethernet") as caught:
        bare(a_vif())
    with pytest.raises(exception.NovaException, match="Unsupported VIF type"):
        start(caught.value)
