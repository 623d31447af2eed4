"""libvirt, found late: its Python binding, a connection, and its errors in our words."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import LibvirtRefused, LibvirtUnreachable, NoSuchDomain

if TYPE_CHECKING:
    import libvirt

    Connection: TypeAlias = "libvirt.virConnect"
    Domain: TypeAlias = "libvirt.virDomain"
else:
    Connection = Domain = Any

#: seconds between two signs of life, and how many may fail to come
KEEPALIVE = (5, 3)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def binding() -> Any:
    """The module ``libvirt``. Raises LibvirtUnreachable when it is not installed."""
    try:
        import libvirt
    except ImportError as error:
        raise LibvirtUnreachable(
            "Python's binding to libvirt is missing: install it with pip install 'vifplug[libvirt]', or with"
            f" apt-get install python3-libvirt ({error})"
        ) from None
    return libvirt


def run_events() -> None:
    """See to it that this process hears libvirt's events: one thread of ours carries them, from now on.

    To be called before a connection is opened, and before the program sets up an event loop of its own for
    libvirt, if it has one: then that one carries them, and this does nothing.
    """
    global _loop  # noqa: PLW0603  # there is one in a process
    library = binding()
    with _loop_lock:
        if _loop is not None:
            return
        library.virEventRegisterDefaultImpl()
        _loop = threading.Thread(target=_carry_events, args=(library,), name="libvirt-events", daemon=True)
        # the kernel gives a signal to whichever thread takes it: this one would sleep on over the program's Ctrl-C
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _loop.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _carry_events(library: Any) -> None:
    try:
        while True:
            library.virEventRunDefaultImpl()
    except library.libvirtError:
        return  # the program has a loop of its own


def keep_quiet() -> None:
    """libvirt writes each error to standard error; who has a message of its own for each wants none of it."""
    binding().registerErrorHandler(lambda *_: None, None)


def connect(uri: str | None = None) -> Connection:
    """A connection that hears events. ``uri``: when not given, LIBVIRT_DEFAULT_URI or what libvirt takes then.

    Raises LibvirtUnreachable.
    """
    library = binding()
    run_events()
    try:
        connection = library.open(uri)
    except library.libvirtError as error:
        named = f"at {uri} " if uri else ""
        raise LibvirtUnreachable(
            f"libvirt does not answer {named}({_words(error)}): start libvirtd, or name another with --connect URI or"
            " LIBVIRT_DEFAULT_URI",
            uri=uri,
        ) from None
    with suppress(library.libvirtError):  # a driver in this very process cannot go away, and says so
        connection.setKeepAlive(*KEEPALIVE)
    return connection


def find_domain(connection: Connection, name: str) -> Domain:
    """A domain by number, UUID or name, looked for in this order, as virsh does. Raises NoSuchDomain."""
    library = binding()
    lookups = [connection.lookupByName]
    if _UUID.fullmatch(name):
        lookups.insert(0, connection.lookupByUUIDString)
    if name.isdigit():
        lookups.insert(0, lambda text: connection.lookupByID(int(text)))
    for lookup in lookups:
        try:
            return lookup(name)
        except library.libvirtError as error:
            if lost(error):
                raise unreachable(error) from None
    with translated("tell its URI"):
        uri = connection.getURI()
    raise NoSuchDomain(f"libvirt at {uri} has no domain {name}: see 'virsh list --all'", domain=name)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise libvirt's errors as ours. ``what`` completes "libvirt would not …"."""
    library = binding()
    try:
        yield
    except library.libvirtError as error:
        if error.get_error_code() == library.VIR_ERR_NO_DOMAIN:
            raise NoSuchDomain(f"the domain is gone: libvirt would not {what}: {_words(error)}") from None
        if lost(error):
            raise unreachable(error) from None
        raise LibvirtRefused(
            f"libvirt would not {what}: {_words(error)}", libvirt_code=error.get_error_code()
        ) from None


def lost(error: Any) -> bool:
    """Whether the connection broke off: what was asked may have been done or not."""
    library = binding()
    if error.get_error_code() in (library.VIR_ERR_INVALID_CONN, library.VIR_ERR_NO_CONNECT):
        return True
    # libvirt's code that speaks to its daemon says so of a broken socket and of a keepalive that did not come
    return error.get_error_domain() in (library.VIR_FROM_RPC, library.VIR_FROM_REMOTE) and (
        error.get_error_code()
        in (
            library.VIR_ERR_INTERNAL_ERROR,
            library.VIR_ERR_SYSTEM_ERROR,
            library.VIR_ERR_RPC,
            library.VIR_ERR_OPERATION_FAILED,
        )
    )


def unreachable(error: Any) -> LibvirtUnreachable:
    return LibvirtUnreachable(f"the connection to libvirt broke off: {_words(error)}")


def _words(error: Any) -> str:
    return str(error.get_error_message() or error).strip()
