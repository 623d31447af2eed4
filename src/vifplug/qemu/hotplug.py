"""A VIF given to a QEMU that runs, and taken from it, over its monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..errors import GuestHolds, QemuRefused, QemuUnreachable, VifplugError
from ..guest.qemu import Part, qemu_parts
from ..host.host import Binding, Host
from ..model import Vif, read_binding
from ..model.vif import Ethernet
from .qmp import Event, Qmp
from .taps import opened_tap

#: seconds until the guest is asked again: who was booting did not hear it
_AGAIN = 5.0
#: seconds that a vhost-user switch may take to come to the socket that QEMU made
SWITCH = 10.0


class Attached(Struct, frozen=True, kw_only=True):
    """The answer of attach."""

    id: str
    #: QEMU's names of what it got
    device: str
    netdev: str | None
    #: False when all was so already
    changed: bool


class Detached(Struct, frozen=True, kw_only=True):
    """The answer of detach."""

    id: str
    unplugged: bool
    #: True when it was unplugged though the guest holds its device
    forced: bool = False
    #: seconds that the guest took to let go
    seconds: float = 0.0


def attach(
    host: Host,
    qmp: Qmp,
    binding: Binding,
    *,
    by_name: bool = False,
    bus: str | None = None,
    seconds: float | None = None,
) -> Attached:
    """Plug a VIF and give it to a running QEMU; when QEMU refuses, everything is taken back.

    A tap is opened here and handed over, so that QEMU needs no privilege; with ``by_name`` QEMU opens it itself.
    ``bus``: where the guest gets the device, for machines without a free place on their first bus (a q35's root
    port, say). ``seconds``: the plug script's deadline. What QEMU has already is left as it is.

    Raises what plugging raises, and opening a tap (NoPermission, say); QemuRefused; and QemuUnreachable when the
    connection broke off in the middle: the VIF stays plugged then, since the guest may have it.
    """
    vif = binding if isinstance(binding, Vif) else read_binding(binding)
    plugged = host.plug(vif, seconds=seconds)
    with _undoing(f"VIF {vif.id} stays plugged, since the guest may have it") as undo:
        if plugged.changed:
            undo(lambda: host.unplug(vif.id, generation=plugged.generation))
        parts = parts_of(plugged.vif)
        device = parts[-1]
        there = device.id in devices(qmp)
        if not there:
            if isinstance(plugged.vif.shape, Ethernet) and not by_name:
                parts = _hand_over(qmp, plugged.vif, undo)
            for part in parts:
                _add(qmp, part, bus, undo)
            if plugged.vif.link_state == "down":
                set_link(qmp, device.id, up=False)
    netdev = next((part.id for part in parts if part.flag == "-netdev"), None)
    return Attached(id=vif.id, device=device.id, netdev=netdev, changed=plugged.changed or not there)


def detach(host: Host, qmp: Qmp, vif_id: str, *, patience: float = 30.0, force: bool = False) -> Detached:
    """Take a VIF from a running QEMU, and unplug it once the guest has let go of it.

    QEMU only asks the guest, which may never answer. ``patience``: seconds to wait for it; then GuestHolds is
    raised and the VIF stays plugged. With ``force`` it is unplugged all the same, and its back end taken from QEMU:
    the guest keeps a device that leads nowhere.

    Raises NotPlugged, QemuUnreachable, and what unplugging raises.
    """
    parts = parts_of(host.show(vif_id).vif)
    began = time.monotonic()
    forced = False
    try:
        _take_from_guest(qmp, vif_id, parts[-1].id, patience)
    except GuestHolds:
        if not force:
            raise
        forced = True
    waited = time.monotonic() - began
    for part in reversed(parts[:-1]):
        _remove_backend(qmp, part)
    unplugged = host.unplug(vif_id).changed
    return Detached(id=vif_id, unplugged=unplugged, forced=forced, seconds=waited)


def parts_of(vif: Vif, fds: Sequence[str] | None = None) -> list[Part]:
    """What QEMU has of a VIF. Whether the link is up is no argument of any part, but a command of its own."""
    return qemu_parts(replace(vif, link_state=None), fds=fds)


def set_link(qmp: Qmp, device: str, *, up: bool) -> None:
    """Plug the guest's cable in, or pull it out."""
    qmp.execute("set_link", {"name": device, "up": up})


# --- adding ---------------------------------------------------------------------------------------


def _hand_over(qmp: Qmp, vif: Vif, undo: Callable[[Callable[[], object]], None]) -> list[Part]:
    """The VIF's parts, with its tap by descriptors that QEMU has."""
    names = [f"tap-{vif.id}-{queue}" for queue in range(vif.queues)]
    with opened_tap(vif) as fds:
        for name, fd in zip(names, fds, strict=True):
            qmp.execute("getfd", {"fdname": name}, fds=[fd])
            undo(partial(_unless_gone, qmp, "closefd", {"fdname": name}))
    return parts_of(vif, names)


def _add(qmp: Qmp, part: Part, bus: str | None, undo: Callable[[Callable[[], object]], None]) -> None:
    arguments: dict[str, Any] = dict(part.options)
    match part.flag:
        case "-chardev":
            qmp.execute("chardev-add", _chardev(arguments))
            undo(partial(_remove_backend, qmp, part))
            if arguments.get("server"):
                _wait_for_switch(qmp, part.id, arguments["path"])
        case "-netdev":
            qmp.execute("netdev_add", {"type": part.head} | arguments)
            undo(partial(_remove_backend, qmp, part))
        case _:
            qmp.execute(
                "device_add", {"driver": part.head} | ({"bus": bus} if bus is not None else {}) | arguments
            )


def _wait_for_switch(qmp: Qmp, chardev: str, path: str) -> None:
    """netdev_add of vhost-user waits for the switch, and the whole of QEMU with it: so we wait before."""
    deadline = time.monotonic() + SWITCH
    while True:
        found = {one["label"]: one["filename"] for one in qmp.execute("query-chardev")}
        if not found[chardev].startswith("disconnected:"):
            return
        if time.monotonic() >= deadline:
            raise QemuRefused(
                f"no switch has come to {path} within {SWITCH:g} s: QEMU would stand still until it did. Start the"
                " switch, or look whether it knows the port",
                path=path,
            )
        time.sleep(0.05)  # there is no event for it


def _chardev(options: dict[str, Any]) -> dict[str, Any]:
    """chardev-add's arguments (qapi/char.json), of a Unix socket."""
    data: dict[str, Any] = {
        "addr": {"type": "unix", "data": {"path": options["path"]}},
        "server": options.get("server", False),
    }
    if "reconnect" in options:
        data["reconnect"] = options["reconnect"]
    if data["server"]:
        data["wait"] = False  # a monitor that waits for a switch answers nobody
    return {"id": options["id"], "backend": {"type": "socket", "data": data}}


@contextmanager
def _undoing(unknown: str) -> Iterator[Callable[[Callable[[], object]], None]]:
    """A block in which each step tells how it is undone: all in reverse when a later one fails, but nothing when
    nobody can say what QEMU has."""
    steps: list[Callable[[], object]] = []
    try:
        yield steps.append
    except QemuUnreachable as error:
        error.message += f"; {unknown}: attach it again, or unplug it when QEMU has ended"
        error.args = (error.message,)
        raise
    except BaseException as error:
        for step in reversed(steps):
            try:
                step()
            except VifplugError as more:
                if isinstance(error, VifplugError):
                    error.message += f"; and undoing it failed: {more.message}"
                    error.args = (error.message,)
        raise


# --- taking away ----------------------------------------------------------------------------------


def _take_from_guest(qmp: Qmp, vif_id: str, device: str, patience: float) -> None:
    """Ask the guest for the device until it is gone. Raises GuestHolds."""
    deadline = time.monotonic() + patience
    while device in devices(qmp):
        try:
            qmp.execute("device_del", {"id": device})
        except QemuRefused as error:
            # GenericError is also what QEMU says when it has asked the guest already
            if error.context["qemu_class"] not in ("DeviceNotFound", "GenericError"):
                raise
        left = deadline - time.monotonic()
        event = qmp.wait(lambda event: _tells_of(event, device), max(min(_AGAIN, left), 0))
        if event is not None and event["event"] == "DEVICE_UNPLUG_GUEST_ERROR":
            raise _held(qmp, vif_id, "the guest refuses to let go of it")
        if event is None and time.monotonic() >= deadline:
            raise _held(qmp, vif_id, f"the guest has not let go of it within {patience:g} s")


def _tells_of(event: Event, device: str) -> bool:
    return (
        event.get("event") in ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
        and event.get("data", {}).get("device") == device
    )


def _held(qmp: Qmp, vif_id: str, why: str) -> GuestHolds:
    status = qmp.execute("query-status")["status"]
    do = "it may be booting, or without a driver for it, or hang"
    if status != "running":
        do = f"it is {status}, and does not answer before it runs (cont)"
    return GuestHolds(
        f"VIF {vif_id} stays plugged and in the guest: {why}; {do}. Detach it again then, or end the guest, or take the"
        " VIF away all the same with --force",
        vif_id=vif_id,
    )


def devices(qmp: Qmp) -> set[str]:
    """The ids of the devices that QEMU has."""
    return {one["name"] for one in qmp.execute("qom-list", {"path": "/machine/peripheral"})}


def _remove_backend(qmp: Qmp, part: Part) -> None:
    command = "netdev_del" if part.flag == "-netdev" else "chardev-remove"
    _unless_gone(qmp, command, {"id": part.id})


def _unless_gone(qmp: Qmp, command: str, arguments: dict[str, Any]) -> None:
    with suppress(QemuRefused):  # that it is gone already is the only thing that QEMU can say against it
        qmp.execute(command, arguments)
