"""All that a binding may hold: long, many, strange, missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ...model import Vif
from ..case import Broken, NotApplicable, case
from ..kit import Came, Kit

TOPIC = "values"
_STRANGE = "Grün 网络 🐟 \"quoted\" 'single' \\ $HOME `id` * ; & | < > # é\u0301 \u202e"
_IN_ORDER = (0, 65)


def _life(kit: Kit, vif: Vif) -> None:
    """Plug, check where there is one, unplug."""
    with kit.plugged(vif):
        if "check" in kit.verbs():
            came = kit.done("check", vif)
            if not came.reply.get("ok", True):
                raise Broken("check sees drift right after plug", came)
        kit.done("unplug", vif)


def _or_refused(kit: Kit, vif: Vif) -> None:
    """As ``_life``, or a plug that is refused as bad details."""
    with kit.vif(vif):
        came = kit.call("plug", vif)
        if came.status not in _IN_ORDER:
            raise Broken("plug neither worked nor was refused with 65", came)
        kit.done("unplug", vif)


@case(TOPIC, "longest-device-name", "a device name of 15 bytes", anchor="the-request",
      says="the host's device, at most 15 bytes")  # fmt: skip
def longest_device_name(kit: Kit) -> None:
    if (vif := kit.possible(devname="tap-abcdefgh.15")) is None:
        raise NotApplicable("such a binding is not taken")
    _life(kit, vif)


@case(TOPIC, "unicode", "names in any script, with quotes and what a shell would act on", anchor="what-the-host-promises",
      says="Every value is checked before the script sees it: ids, addresses and device names have their form, nothing has control characters.")  # fmt: skip
def unicode_names(kit: Kit) -> None:
    network = {
        "label": _STRANGE,
        "id": _STRANGE,
        "project_id": _STRANGE,
        "mtu": 1450,
        "subnets": kit_subnets(kit),
    }
    _life(kit, kit.make(network=network, instance={"name": _STRANGE, "id": _STRANGE, "project_id": _STRANGE}))


def kit_subnets(kit: Kit) -> list[Any]:
    return [msgspec.to_builtins(subnet) for subnet in kit.make().network.subnets]


@case(TOPIC, "nothing-is-evaluated", "text in a request is text, and is never run", anchor="the-environment",
      says="Text as it is, true and false, numbers in decimal, null as the empty string, a list or an object as JSON.")  # fmt: skip
def nothing_is_evaluated(kit: Kit) -> None:
    trap = Path("/run/vifplug-conform/evaluated")
    bait = f"$(touch {trap});`touch {trap}`;touch {trap}"
    details = {"vifplug_conform": bait, "vifplug_conform_list": [bait]}
    network = {"label": bait, "id": bait, "subnets": kit_subnets(kit)}
    with kit.vif(
        network=network, instance={"name": bait, "id": bait}, details=details, profile={"x": bait}
    ) as vif:
        for verb in ("plug", "check", "unplug"):
            came = kit.call(verb, vif)
            if trap.exists():
                trap.unlink()
                raise Broken(f"{verb} ran a command that stood in the request", came)


@case(TOPIC, "many-subnets", "sixty-four subnets with routes and DNS", anchor="the-request",
      says="as far as the caller knows them")  # fmt: skip
def many_subnets(kit: Kit) -> None:
    subnets = [
        {
            "id": f"subnet-{n}", "cidr": f"10.1.{n}.0/24", "gateway": f"10.1.{n}.1", "addresses": [f"10.1.{n}.5", f"10.1.{n}.6"],
            "routes": [{"destination": f"10.2.{n}.0/24", "nexthop": f"10.1.{n}.9"}], "dns": [f"10.1.{n}.2"],
        }
        for n in range(64)
    ]  # fmt: skip
    _life(kit, kit.make(network={"id": "n", "label": "many", "mtu": 1450, "subnets": subnets}))


@case(
    TOPIC,
    "ipv6-only",
    "a guest with IPv6 addresses alone",
    anchor="the-request",
    says="as far as the caller knows them",
)
def ipv6_only(kit: Kit) -> None:
    subnet = {"cidr": "fd00:6::/64", "gateway": "fe80::1", "addresses": ["fd00:6::5"], "dns": ["fd00:6::53"]}
    _life(kit, kit.make(network={"id": "n", "label": "six", "subnets": [subnet]}))


@case(TOPIC, "nothing-known", "no network, no guest, no MTU and no address known", anchor="the-request",
      says="Every key shown is always there, for every verb; null (or an empty list) means that nobody knows, or that it does not apply.")  # fmt: skip
def nothing_known(kit: Kit) -> None:
    vif = kit.possible(network={}, instance={}, mtu=None, vnic_type=None, address=None)
    if vif is None:
        raise NotApplicable("a VIF of this type has an address")
    _or_refused(kit, vif)


@case(TOPIC, "no-mtu", "no MTU is known", anchor="the-environment",
      says="a value that nobody knows is the empty string, so set -u is safe and [ -n \"$VIF_MTU\" ] asks whether there is one.")  # fmt: skip
def no_mtu(kit: Kit) -> None:
    _life(kit, kit.make(mtu=None, network={"id": "n", "subnets": kit_subnets(kit)}))


@case(TOPIC, "queues", "1, 2, 4 and 16 queues", anchor="the-request", says="queue pairs, 1 or more")
def queues(kit: Kit) -> None:
    for count in (1, 2, 4, 16):
        if (vif := kit.possible(queues=count)) is not None:
            _life(kit, vif)


@case(TOPIC, "bandwidth", "limits of bandwidth", anchor="the-request",
      says="libvirt applies it to the guest's device; a script applies it where libvirt cannot")  # fmt: skip
def bandwidth(kit: Kit) -> None:
    _life(
        kit,
        kit.make(
            bandwidth={
                "inbound": {"average": 1000, "peak": 5000, "burst": 1024},
                "outbound": {"average": 128},
            }
        ),
    )


@case(TOPIC, "unknown-keys", "keys of a later contract are ignored", anchor="the-request",
      says="A later host may add keys: ignore what you do not know.")  # fmt: skip
def unknown_keys(kit: Kit) -> None:
    with kit.vif() as vif:
        plain: list[Came] = []
        for verb in ("plug", "unplug"):
            request = msgspec.to_builtins(kit.request(verb, vif))
            for part in (request, request["vif"], request["network"], request["instance"], request["host"]):
                part["of_a_later_version"] = {"n": [1, None, "x"]}
            came = kit.raw(
                verb,
                vif,
                request=msgspec.json.encode(request) + b"\n",
                environment={"VIF_OF_A_LATER_VERSION": "1"},
            )
            plain.append(came)
            if not came.done:
                raise Broken(f"{verb} failed for a request with keys that it does not know", came)


@case(TOPIC, "unknown-details", "details that it does not know are ignored", anchor="the-request",
      says="the binding's vif_details as the network service sent them")  # fmt: skip
def unknown_details(kit: Kit) -> None:
    unknown = {
        "port_filter": True,
        "connectivity": "l2",
        "vifplug.conform-x": [1, {"a": None}],
        "vifplug_none": "",
    }
    with kit.plugged() as vif:
        known = kit.calls[-1].reply
        kit.done("unplug", vif)
        came = kit.done("plug", kit.make(id=vif.id, address=vif.address, details=unknown))
        if came.reply != known:
            raise Broken(f"without details that it does not know its reply was {known}", came)


@case(TOPIC, "huge-request", "a request of half a megabyte, too large for the environment", anchor="the-environment",
      says="A detail longer than 128 KiB (VIF_DETAILS_NAME=value, the kernel's limit for one variable) is left out of the environment")  # fmt: skip
def huge_request(kit: Kit) -> None:
    _life(kit, kit.make(details={"vifplug_conform_huge": ["x" * 1000] * 500}))


@case(TOPIC, "profile", "what Neutron says of the port besides", anchor="the-request",
      says="what Neutron calls binding:vnic_type")  # fmt: skip
def profile(kit: Kit) -> None:
    _life(
        kit,
        kit.make(
            profile={"os_vif_delegation": True, "capabilities": ["switchdev"], "n": {"m": 1}},
            vnic_type="normal",
        ),
    )
