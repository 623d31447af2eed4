"""A device name that the model accepts is one that the kernel accepts."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings

from model.binding_samples import binding, device_names, texts
from vifplug.errors import InvalidInput
from vifplug.model import read_binding

SIOCSIFNAME = 0x8923


def rename(old: str, new: str) -> None:
    """Rename a device of this namespace, by netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFNAME, struct.pack("16s16s8x", old.encode(), new.encode()))


@pytest.fixture
def device(netns: None) -> list[str]:
    """The present name of the one device that the tests rename."""
    subprocess.run(["ip", "tuntap", "add", "first", "mode", "tap"], check=True)
    return ["first"]


# one device, renamed again and again, serves every example
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(device_names | texts)
def test_the_kernel_takes_every_device_name_that_the_model_takes(device: list[str], name: str) -> None:
    try:
        accepted = read_binding(binding(devname=name)).devname
    except InvalidInput:
        return
    if accepted == "lo":
        # a good name, which the loopback device of every namespace has
        return
    rename(device[0], accepted)
    device[0] = accepted
    assert accepted in [name for _, name in socket.if_nameindex()]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "a\n", "all", "default"])
def test_the_kernel_refuses_what_the_model_refuses(device: list[str], name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^devname: "):
        read_binding(binding(devname=name))
    with pytest.raises(OSError, match="Invalid argument"):
        rename(device[0], name)


def test_a_name_that_a_command_would_take_for_an_option_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r'^devname: "-r" .* not beginning with -$'):
        read_binding(binding(devname="-r"))


def test_the_kernel_makes_another_name_of_one_with_a_percent_sign(device: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"^devname: "):
        read_binding(binding(devname="tap%d"))
    rename(device[0], "tap%d")
    assert "tap0" in [name for _, name in socket.if_nameindex()]
