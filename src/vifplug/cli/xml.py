"""``vifplug xml``."""

from __future__ import annotations

from pathlib import Path

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, read_one
from ._output import emit, say
from ._session import Session


@verb("xml", example="vifplug xml 4c1b1b0a")
@click.argument("what", metavar="ID|FILE", shell_complete=complete_id)
@click.option("--qemu", is_flag=True, help="QEMU's -netdev and -device arguments instead.")
@click.option("--cloud-hypervisor", is_flag=True, help="Cloud Hypervisor's configuration instead, as JSON.")
@click.option("--firecracker", is_flag=True, help="Firecracker's configuration instead, as JSON.")
@pass_session
def command(session: Session, what: str, qemu: bool, cloud_hypervisor: bool, firecracker: bool) -> None:
    """Print the guest's XML of a VIF or a binding.

    Of a plugged VIF by its ID; or what a guest would see of the port binding in FILE, which is read
    while nothing is plugged (- is standard input).
    """
    if qemu + cloud_hypervisor + firecracker > 1:
        raise click.UsageError("give one of --qemu, --cloud-hypervisor and --firecracker")
    is_file = what == "-" or "/" in what or what.endswith(".json") or Path(what).is_file()
    vif = read_one(what) if is_file else session.host.show(find_id(session, what)).vif
    if qemu:
        import shlex

        from ..guest import qemu_arguments

        arguments = qemu_arguments(vif)
        if session.json:
            emit({"id": vif.id, "arguments": arguments})
        else:
            say(shlex.join(arguments))
        return
    if cloud_hypervisor:
        from ..guest.cloud_hypervisor import cloud_hypervisor_config

        key, entry = cloud_hypervisor_config(vif)
        emit({key: [entry]})
        return
    if firecracker:
        from ..guest.firecracker import firecracker_config

        emit(firecracker_config(vif))
        return
    from ..guest import interface_xml

    xml = interface_xml(vif)
    if session.json:
        emit({"id": vif.id, "xml": xml})
    else:
        say(xml.rstrip("\n"))
