"""A VIF as Cloud Hypervisor's and Firecracker's configuration. Neither program runs here: what they take is known from
their API descriptions (cloud-hypervisor.yaml, firecracker.yaml, of August 2026)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from guest.bindings import ADDRESS, ID, bindings, read
from vifplug.cli._frame import run
from vifplug.errors import InvalidInput
from vifplug.guest.cloud_hypervisor import HOT_PLUG, cloud_hypervisor_config
from vifplug.guest.firecracker import firecracker_config

GOLDEN = Path(__file__).resolve().parent / "microvms"

#: properties of NetConfig, VdpaConfig and DeviceConfig; and of NetworkInterface: with their JSON types
CLOUD_HYPERVISOR = {
    "net": {
        "tap": str, "ip": str, "mask": str, "mac": str, "host_mac": str, "mtu": int, "iommu": bool, "num_queues": int,
        "queue_size": int, "vhost_user": bool, "vhost_socket": str, "vhost_mode": str, "id": str,
    },
    "vdpa": {"path": str, "num_queues": int, "iommu": bool, "id": str},
    "devices": {"path": str, "iommu": bool, "id": str},
}  # fmt: skip
FIRECRACKER = {
    "guest_mac": str, "host_dev_name": str, "iface_id": str, "mtu": int,
    "rx_rate_limiter": dict, "tx_rate_limiter": dict,
}  # fmt: skip


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda folder: folder.name)
def test_a_binding_gives_just_this(folder: Path) -> None:
    vif = read(**json.loads((folder / "binding.json").read_text()))
    for name, made in (
        ("cloud-hypervisor.json", lambda: dict([cloud_hypervisor_config(vif)])),
        ("firecracker.json", lambda: firecracker_config(vif)),
    ):
        expected = folder / name
        if expected.exists():
            assert made() == json.loads(expected.read_text())
        else:
            with pytest.raises(InvalidInput, match="cannot be used with VIF type"):
                made()


@given(binding=bindings())
def test_every_vif_gives_what_the_apis_know_or_is_refused(binding: dict[str, Any]) -> None:
    try:
        vif = read(**binding)
    except InvalidInput:
        return
    try:
        key, entry = cloud_hypervisor_config(vif)
    except InvalidInput as error:
        assert error.context["field"]
    else:
        assert key in HOT_PLUG
        for name, value in entry.items():
            assert type(value) is CLOUD_HYPERVISOR[key][name]
    try:
        config = firecracker_config(vif)
    except InvalidInput as error:
        assert error.context["field"]
    else:
        assert config["iface_id"].replace("_", "").isalnum()
        for name, value in config.items():
            assert type(value) is FIRECRACKER[name]


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "binding.json"
    file.write_text(json.dumps({"id": ID, "address": ADDRESS, "vif_type": "ethernet"}))
    assert run(["xml", str(file), "--cloud-hypervisor"]) == 0
    assert json.loads(capsys.readouterr().out)["net"][0]["tap"] == "tap4c1b1b0a-7d"
    assert run(["xml", str(file), "--firecracker"]) == 0
    assert json.loads(capsys.readouterr().out)["host_dev_name"] == "tap4c1b1b0a-7d"
    assert run(["xml", str(file), "--firecracker", "--qemu"]) == 64
