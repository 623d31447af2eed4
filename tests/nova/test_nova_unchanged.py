"""Nothing of Nova's own changes: its own tests of VIFs, with the plugin loaded as nova-compute loads it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import os_vif
import pytest
from nova.network import neutron as nova_neutron
from nova.network import os_vif_util
from nova.virt.libvirt import driver as nova_driver
from nova.virt.libvirt import guest as nova_guest
from nova.virt.libvirt import vif as nova_vif

from nova_side import a_vif

#: run as Nova runs its tests, with our functions in the place of its own, and an end if they are not
_RUN = """
import sys, unittest
import os_vif
from oslo_config import cfg
import nova.conf, nova.test
os_vif.initialize()
from nova.network import os_vif_util
from nova.virt.libvirt import vif
for met in (os_vif_util.nova_to_osvif_vif, vif.LibvirtGenericVIFDriver._plug_os_vif):
    assert hasattr(met, "__vifplug_original__"), met
unittest.main(module=None, argv=["run", *sys.argv[1:]])
"""
_TESTS = [
    "nova.tests.unit.virt.libvirt.test_vif",
    "nova.tests.unit.network.test_os_vif_util",
    "nova.tests.unit.virt.libvirt.test_migration",
    "nova.tests.unit.virt.libvirt.test_guest",
    "nova.tests.unit.virt.libvirt.test_designer",
]


@pytest.mark.slow
def test_nova_s_own_tests_of_vifs_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, *_TESTS],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "VIFPLUG_SOCKET": "/nonexistent"},
        timeout=280,
    )
    ran = done.stderr.rsplit("Ran ", maxsplit=1)[-1].split(" tests", maxsplit=1)[0]
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert int(ran) > 150, done.stderr[-2000:]


@pytest.mark.slow
def test_nova_s_own_tests_of_network_info_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, "-k", "nw_info", "nova.tests.unit.network.test_neutron"],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        timeout=280,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.usefixtures("nova")
def test_what_is_not_ours_reaches_nova_s_own_code_and_its_answer_comes_back() -> None:
    assert os_vif_util.nova_to_osvif_vif(a_vif("tap", script="whatever")) is None
    found = os_vif_util.nova_to_osvif_vif(a_vif("ovs", script=None))
    assert type(found).__name__ == "VIFOpenVSwitch"
    with pytest.raises(Exception, match="Unsupported VIF type nonsense"):
        os_vif_util.nova_to_osvif_vif(a_vif("nonsense"))


@pytest.mark.usefixtures("nova")
def test_names_signatures_and_documentation_of_nova_s_functions_stay() -> None:
    for owner, name in (
        (os_vif_util, "nova_to_osvif_vif"),
        (nova_vif.LibvirtGenericVIFDriver, "_get_config_os_vif"),
        (nova_vif.LibvirtGenericVIFDriver, "_plug_os_vif"),
        (nova_vif.LibvirtGenericVIFDriver, "_unplug_os_vif"),
        (nova_guest.Guest, "get_interface_by_cfg"),
        (nova_neutron.API, "_nw_info_build_network"),
        (nova_driver.LibvirtDriver, "post_live_migration_at_destination"),
    ):
        met = getattr(owner, name)
        original = met.__vifplug_original__
        assert not hasattr(original, "__vifplug_original__")
        assert (met.__name__, met.__doc__) == (name, original.__doc__)
        assert inspect.signature(met) == inspect.signature(original)


@pytest.mark.usefixtures("nova")
def test_loaded_again_nova_is_met_once() -> None:
    before = os_vif_util.nova_to_osvif_vif.__vifplug_original__
    os_vif.initialize(reset=True)
    os_vif.initialize(reset=True)
    assert os_vif_util.nova_to_osvif_vif.__vifplug_original__ is before


@pytest.mark.usefixtures("nova")
def test_a_binding_of_type_bridge_passes_nova_s_network_info(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which from release 34 on refuses all of them: Linux bridge is gone from Nova."""
    from nova.network import model

    monkeypatch.setattr(nova_neutron, "get_client", lambda *_, **__: None)
    api = nova_neutron.API()
    monkeypatch.setattr(api, "_get_physnet_tunneled_info", lambda *_: ("physnet1", False))
    networks = [{"id": "n", "name": "blue", "tenant_id": "p", "mtu": 1450}]
    port = {
        "id": "p1",
        "network_id": "n",
        "tenant_id": "p",
        "binding:vif_type": "bridge",
        "binding:vif_details": {"vif_plug_script": "recorder", "bridge": "br-data"},
    }
    network, interface_id = api._nw_info_build_network(None, port, networks, [])
    assert isinstance(network, model.Network)
    assert (network["label"], network["bridge"], interface_id) == ("blue", None, None)
    assert port["binding:vif_type"] == "bridge"
    port["binding:vif_details"] = {}
    bare = nova_neutron.API._nw_info_build_network.__vifplug_original__
    assert answer(lambda: api._nw_info_build_network(None, port, networks, [])) == answer(
        lambda: bare(api, None, port, networks, [])
    )


def answer(ask: object) -> tuple[str, str]:
    try:
        return "answer", repr(ask())  # type: ignore[operator]
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.usefixtures("nova")
def test_the_plugin_says_what_it_takes() -> None:
    found = {plugin.plugin_name: plugin for plugin in os_vif.host_info().plugin_info}["vifplug"]
    assert [info.vif_object_name for info in found.vif_info] == ["VIFPlugScript", "VIFGeneric"]


def test_os_vif_s_other_users_do_without_nova() -> None:
    code = (
        "import sys, os_vif; os_vif.initialize(); "
        "assert 'nova' not in sys.modules; assert 'vifplug.nova.plugin' in sys.modules; "
        "assert 'vifplug.host' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd="/")
