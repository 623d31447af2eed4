"""What the verbs that speak to guests share: libvirt's URI, a domain by name, and what is said to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..libvirt.connection import Domain


def connect_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "-c",
        "--connect",
        "uri",
        metavar="URI",
        help="libvirt's, in place of LIBVIRT_DEFAULT_URI or what libvirt takes by itself.",
    )(command)


def qmp_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--qmp", metavar="SOCKET", help="A QEMU without libvirt, by the Unix socket of its monitor."
    )(command)


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which of a domain's two states."""
    for option in (
        click.option(
            "--definition", is_flag=True, help="Only the definition: from the guest's next start on."
        ),
        click.option("--live", is_flag=True, help="Only the guest that runs: not beyond its end."),
    ):
        command = option(command)
    return command


@contextmanager
def domain_of(name: str, uri: str | None) -> Iterator[Domain]:
    """The domain, at libvirt as the user named it, or as libvirt finds it."""
    from ..libvirt.connection import connect, find_domain, keep_quiet

    keep_quiet()
    connection = connect(uri)
    try:
        yield find_domain(connection, name)
    finally:
        close(connection)


def close(connection: Any) -> None:
    """What is wrong with a connection has been said by now."""
    import libvirt

    try:
        connection.close()
    except libvirt.libvirtError:
        return


def places(live: bool, config: bool) -> str:
    """ "the running guest and the definition", or one of them."""
    named = [name for name, there in (("the running guest", live), ("the definition", config)) if there]
    return " and ".join(named)
