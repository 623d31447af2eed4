"""The real Nova's side of a plug: its network model, an instance, its libvirt VIF driver. Needs ./dev nova-test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nova.conf
import os_vif
from lxml import etree  # type: ignore[import-untyped]  # it ships no types
from nova.network import model
from nova.virt.libvirt import vif as nova_vif

from nova import config as nova_config
from nova import objects

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
TAP = "tap4c1b1b0a-7d"
ADDRESS = "fa:16:3e:00:00:01"
INSTANCE = "0b0f6a3e-8d0b-4d5e-9a52-6a3a0e7f1c11"
NETWORK = "7d2a6a0e-53a3-4a56-8e42-0d7a1c9d3f21"
PROJECT = "5f0c7be1a9f34d1c8a4d1b5e6c7d8e9f"

CONF = nova.conf.CONF


def start() -> None:
    """What nova-compute does as it starts (nova.cmd.compute.main), as far as VIFs are concerned."""
    nova_config.parse_args(["nova-compute"], default_config_files=[])
    objects.register_all()
    os_vif.initialize()


@contextmanager
def settings(group: str | None = None, **values: Any) -> Iterator[None]:
    """nova.conf says so, for a while."""
    for name, value in values.items():
        CONF.set_override(name, value, group)
    try:
        yield
    finally:
        for name in values:
            CONF.clear_override(name, group)


def a_network(**meta: Any) -> Any:
    ip = model.FixedIP(address="10.0.0.5")
    subnet = model.Subnet(
        cidr="10.0.0.0/24",
        gateway=model.IP(address="10.0.0.1", type="gateway"),
        dns=[model.IP(address="10.0.0.2", type="dns")],
        ips=[ip],
        routes=[model.Route(cidr="10.9.0.0/16", gateway=model.IP(address="10.0.0.9", type="gateway"))],
    )
    v6 = model.Subnet(cidr="2001:db8::/64", ips=[model.FixedIP(address="2001:db8::5")])
    return model.Network(
        id=NETWORK,
        bridge=None,
        label="blue",
        subnets=[v6, subnet],
        **{"tenant_id": PROJECT, "mtu": 1450, **meta},
    )


def a_vif(vif_type: str = "ethernet", script: str | None = "recorder", **fields: Any) -> Any:
    """One entry of an instance's network info, as nova.network.neutron makes it."""
    details = {"port_filter": False, "connectivity": "l2", **fields.pop("details", {})}
    if script is not None:
        details["vif_plug_script"] = script
    defaults = {
        "id": ID,
        "address": ADDRESS,
        "network": a_network(),
        "vnic_type": "normal",
        "type": vif_type,
        "profile": {},
        "devname": TAP,
        "active": False,
        "preserve_on_delete": False,
        "delegate_create": True,
    }
    return model.VIF(**{**defaults, **fields, "details": details})


def an_instance(vcpus: Any = 4, extra_specs: Any = None, **image: str) -> Any:
    """``image``: its properties."""
    flavor = objects.Flavor(
        id=1, flavorid="1", name="m1", vcpus=vcpus, memory_mb=512, root_gb=1, ephemeral_gb=0, swap=0
    )
    flavor.extra_specs = extra_specs or {}
    return objects.Instance(
        id=17,
        uuid=INSTANCE,
        project_id=PROJECT,
        display_name="web",
        flavor=flavor,
        image_ref=None,
        system_metadata={f"image_{key}": value for key, value in image.items()},
    )


def driver() -> Any:
    """nova.virt.libvirt.vif.LibvirtGenericVIFDriver: what the compute driver calls for every VIF."""
    return nova_vif.LibvirtGenericVIFDriver()


def config(vif: Any, instance: Any | None = None, virt_type: str = "kvm") -> Any:
    """The guest's interface, as the compute driver asks for it."""
    instance = instance or an_instance()
    return driver().get_config(instance, vif, instance.image_meta, instance.flavor, virt_type)


def xml(vif: Any, instance: Any | None = None, virt_type: str = "kvm") -> Any:
    """The <interface> as Nova writes it into the domain."""
    return etree.fromstring(config(vif, instance, virt_type).to_xml())


def domain(*interfaces: str) -> str:
    return (
        "<domain type='qemu'><name>g</name><memory>65536</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>"
        f"<devices>{''.join(interfaces)}</devices></domain>"
    )


def assert_valid(interface: str) -> None:
    """By libvirt's schema."""
    done = subprocess.run(
        ["xmllint", "--noout", "--relaxng", "/usr/share/libvirt/schemas/domain.rng", "-"],
        check=False,
        input=domain(interface),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + interface
