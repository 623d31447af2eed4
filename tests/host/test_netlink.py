"""The raw netlink module against the real kernel."""

from __future__ import annotations

import errno
import subprocess

import pytest

from vifplug.host.netlink import Netlink, NetlinkError

pytestmark = pytest.mark.usefixtures("netns")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def test_a_link_is_read_as_the_kernel_has_it() -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip(
        "link",
        "add",
        "va",
        "address",
        "02:00:00:00:00:07",
        "mtu",
        "1400",
        "type",
        "veth",
        "peer",
        "name",
        "vb",
    )
    ip("link", "set", "va", "alias", "some thing", "master", "br0", "up")
    with Netlink() as netlink:
        link, bridge = netlink.link("va"), netlink.link("br0")
        assert link is not None
        assert bridge is not None
        assert netlink.link_at(link.index) == link
    assert (link.name, link.kind, link.address, link.mtu) == ("va", "veth", "02:00:00:00:00:07", 1400)
    assert (link.up, link.alias, link.master) == (True, "some thing", bridge.index)
    assert (bridge.up, bridge.alias, bridge.master) == (False, None, None)


def test_a_link_that_is_not_there_is_none() -> None:
    with Netlink() as netlink:
        assert netlink.link("nosuch") is None
        assert netlink.link_at(9999) is None


def test_all_links_are_listed_however_many() -> None:
    for number in range(60):
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
    with Netlink() as netlink:
        names = {link.name for link in netlink.links()}
    assert {f"v{n}" for n in range(60)} | {f"w{n}" for n in range(60)} | {"lo"} == names


def test_configure_sets_everything_and_keeps_ipv6_addresses_away() -> None:
    ip("link", "add", "va", "type", "veth", "peer", "name", "vb")
    ip("link", "set", "vb", "up")
    with Netlink() as netlink:
        netlink.configure("va", address="fe:16:3e:00:00:01", mtu=1300, alias="mark", up=True)
        link = netlink.link("va")
    assert link is not None
    assert (link.address, link.mtu, link.alias, link.up) == ("fe:16:3e:00:00:01", 1300, "mark", True)
    assert "inet6" in ip("address", "show", "dev", "vb")
    assert "inet6" not in ip("address", "show", "dev", "va")


def test_many_are_deleted_together_and_nothing_else() -> None:
    for number in range(20):
        ip("link", "add", f"v{number}", "type", "bridge")
    ip("link", "add", "stays", "type", "bridge")
    with Netlink() as netlink:
        indexes = [link.index for link in netlink.links() if link.name.startswith("v")]
        assert len(indexes) == 20
        netlink.delete([*indexes, 9999])  # one that is gone already
        assert {link.name for link in netlink.links()} == {"lo", "stays"}


def test_deleting_what_is_gone_is_no_error() -> None:
    with Netlink() as netlink:
        netlink.delete([9999])
        netlink.delete([])
        netlink.delete([9998, 9999])


def test_a_refusal_carries_the_kernels_own_sentence() -> None:
    ip("link", "add", "va", "type", "veth", "peer", "name", "vb")
    with Netlink() as netlink, pytest.raises(NetlinkError) as caught:
        netlink.set("va", mtu=65536)
    assert caught.value.errno == errno.EINVAL
    assert "mtu greater than device maximum" in str(caught.value)
