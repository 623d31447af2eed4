"""A Nova that vifplug does not know: refused with the reason, while nova-compute and all other VIFs go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import os_vif
import pytest
from nova.network import os_vif_util
from nova.virt.libvirt import vif as nova_vif

from nova import exception
from nova_side import a_vif, an_instance, config, driver, settings
from vifplug.nova import releases

pytestmark = pytest.mark.usefixtures("nova")
_DRIVER = nova_vif.LibvirtGenericVIFDriver


@pytest.fixture
def unhooked() -> Iterator[None]:
    """Nova as it was before the plugin; afterwards the plugin is loaded as ever."""
    _restore()
    yield
    os_vif.initialize(reset=True)


def _restore() -> None:
    for owner, name in ((os_vif_util, "nova_to_osvif_vif"), *((_DRIVER, name) for name in (
        "_plug_os_vif", "_unplug_os_vif", "_get_config_os_vif"))):  # fmt: skip
        met = getattr(owner, name)
        setattr(owner, name, getattr(met, "__vifplug_original__", met))


def refused() -> str:
    """What our VIFs are refused with; others must not be."""
    os_vif.initialize(reset=True)
    assert type(os_vif_util.nova_to_osvif_vif(a_vif("ovs", script=None))).__name__ == "VIFOpenVSwitch"
    messages = set()
    for vif in (a_vif(), a_vif("vhostuser", details={"vhostuser_socket": "/run/s"})):
        with pytest.raises(exception.VirtualInterfacePlugException) as caught:
            driver().plug(an_instance(), vif)
        messages.add(str(caught.value))
        with pytest.raises(exception.VirtualInterfacePlugException) as caught:
            driver().unplug(an_instance(), vif)
        messages.add(str(caught.value))
        with pytest.raises(exception.VirtualInterfacePlugException) as caught:
            config(vif)
        messages.add(str(caught.value))
    (message,) = messages
    return message


def test_this_nova_is_one_of_those_tested() -> None:
    assert releases.objections(allow_untested=False) is None


@pytest.mark.usefixtures("unhooked")
def test_another_release_is_refused_by_its_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "35.0.0" if name == "nova" else told(name))
    with caplog.at_level(logging.CRITICAL):
        message = refused()
    assert "tested with Nova 29 to 34, and this is 35.0.0" in message and "allow_untested_nova" in message
    assert any(
        record.levelno == logging.CRITICAL and "35.0.0" in record.getMessage() for record in caplog.records
    )
    with settings("os_vif_vifplug", allow_untested_nova=True):
        os_vif.initialize(reset=True)
        assert type(os_vif_util.nova_to_osvif_vif(a_vif())).__name__ == "VIFPlugScript"


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("name", ["_plug_os_vif", "_unplug_os_vif", "_get_config_os_vif", "get_base_config"])
def test_another_signature_is_refused_by_name_even_where_untested_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(_DRIVER, name, lambda self, something_new: (self, something_new))
    with settings("os_vif_vifplug", allow_untested_nova=True):
        assert f"LibvirtGenericVIFDriver.{name}(self, something_new)" in refused_conversion()


@pytest.mark.usefixtures("unhooked")
def test_a_function_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_DRIVER, "_unplug_os_vif")
    assert "has no LibvirtGenericVIFDriver._unplug_os_vif" in refused_conversion()


@pytest.mark.usefixtures("unhooked")
def test_a_nova_that_cannot_even_be_examined_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> str:
        raise ImportError("no module named nova.network.neutron")

    monkeypatch.setattr(releases, "objections", broken)
    assert "cannot be examined (ImportError: no module named nova.network.neutron)" in refused()


@pytest.mark.usefixtures("unhooked")
def test_a_compute_driver_that_is_not_libvirt_is_left_alone() -> None:
    with settings(compute_driver="ironic.IronicDriver"):
        os_vif.initialize(reset=True)
    assert not hasattr(os_vif_util.nova_to_osvif_vif, "__vifplug_original__")


def refused_conversion() -> str:
    os_vif.initialize(reset=True)
    with pytest.raises(exception.VirtualInterfacePlugException) as caught:
        os_vif_util.nova_to_osvif_vif(a_vif())
    return str(caught.value)
