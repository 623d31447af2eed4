"""What the user names: files with bindings, and VIFs by id, part of an id, or device."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..errors import InvalidInput, NotPlugged, VifplugError
from ._session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..host.results import Record
    from ..model import Vif

_WHOLE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART_OF_ID = re.compile(r"[0-9a-f-]{4,36}")
_DEVICE = re.compile(r"[A-Za-z0-9_.\-@]{1,15}")


def seconds_option(text: str, name: str = "--seconds", default: float | None = None) -> Callable[[Any], Any]:
    """An option in seconds, more than 0 and at most a day."""

    def check(_ctx: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
        if value is not None and not 0 < value <= 86400:  # not-a-number is neither
            raise click.BadParameter(f"{value} is not more than 0 and at most 86400.")
        return value

    return click.option(name, type=float, metavar="SECONDS", default=default, callback=check, help=text)


# --- bindings ------------------------------------------------------------------------------------


def read_one(file: str | None) -> Vif:
    """The one binding in *file* ("-" or None: standard input). Raises InvalidInput that names the file."""
    from ..model import read_binding, source

    with _named(file):
        return read_binding(_content(file, source.ONE))


def read_many(file: str) -> list[Vif]:
    """The bindings in *file*: a list, ``{"ports": […]}`` or JSON Lines."""
    from ..model import read_bindings, source

    with _named(file):
        return read_bindings(_content(file, source.MANY))


@contextmanager
def _named(file: str | None) -> Iterator[None]:
    """Put the file's name before what is wrong in it."""
    name = "standard input" if file in (None, "-") else file or "''"
    try:
        yield
    except InvalidInput as error:
        error.message = f"{name}: {error.message}"
        raise


def _content(file: str | None, limit: int) -> bytes:
    if file is None or file == "-":
        if sys.stdin is None or (file is None and sys.stdin.isatty()):  # None: the caller closed it
            raise click.UsageError(
                "name a FILE with a port binding, or - to type it in", click.get_current_context()
            )
        return _bounded(sys.stdin.buffer, limit)
    if not file:
        raise InvalidInput("a file has a name", file=file)
    try:
        with Path(file).open("rb") as stream:
            return _bounded(stream, limit)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=file) from None
    except ValueError:
        raise InvalidInput("a file's name cannot have a NUL in it", file=file) from None


def _bounded(stream: BinaryIO, limit: int) -> bytes:
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise InvalidInput(f"larger than {limit} bytes; a port binding is a few thousand", allowed=limit)
    if not content.strip():
        raise InvalidInput("empty; a port binding is a JSON object")
    return content


# --- VIFs on record ------------------------------------------------------------------------------


def find_id(session: Session, text: str) -> str:
    """The id of the VIF that *text* means: a whole id, the beginning of one, or a device's name.

    A whole id is taken as it is, on record or not. Raises NotPlugged when nothing on record fits,
    InvalidInput when several do or when *text* can be no such thing.
    """
    lower = text.lower()
    if _WHOLE_ID.fullmatch(lower):
        return lower
    if not _DEVICE.fullmatch(text) and not _PART_OF_ID.fullmatch(lower):
        raise InvalidInput(
            f"{text!r} names no VIF; give a port id, its first characters (4 or more), or a device",
            field="id",
            value=text,
        )
    fitting = sorted(
        (record for record in session.host.list() if _fits(record, text, lower)), key=lambda record: record.id
    )
    ids = sorted({record.id for record in fitting})
    if not ids:
        raise NotPlugged(
            f"no VIF on record has the id or the device {text}; 'vifplug list' shows all", value=text
        )
    if len(ids) > 1:
        named = ", ".join(f"{record.id} ({record.vif.devname})" for record in fitting[:10])
        more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
        raise InvalidInput(
            f"{text} is the beginning of {len(ids)} ids: {named}{more}", field="id", value=text, ids=ids
        )
    return ids[0]


def _fits(record: Record, text: str, lower: str) -> bool:
    return record.vif.devname == text or (len(lower) >= 4 and record.id.startswith(lower))


def complete_id(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """The ids on record, for the shell; nothing where the ledger cannot be read."""
    from click.shell_completion import CompletionItem

    session = ctx.find_root().ensure_object(Session)
    try:
        if session.daemon is None and not Path(session.loaded.config.state_dir).is_dir():
            return []  # and none is made
        records = session.host.list()
    except (VifplugError, OSError):
        return []
    return [
        CompletionItem(record.id, help=f"{record.vif.devname} {record.state}")
        for record in records
        if record.id.startswith(incomplete.lower())
    ]
