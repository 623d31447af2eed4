"""For verbs that only the daemon can answer."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from ._output import say
from ._session import Session

if TYPE_CHECKING:
    from ..client import Client


def client(session: Session, timeout: float | None) -> Client:
    """A client of this host's daemon; ``timeout``: seconds that it may be silent, None for any time."""
    if session.local:
        raise click.UsageError("only vifplugd knows this: leave out --local")
    from ..client import Client

    named = session.socket or os.environ.get("VIFPLUG_SOCKET")
    return Client(named or session.loaded.config.socket_path, timeout=timeout)


def say_json(answer: Any, indent: int | None = None) -> None:
    """What the daemon answered, as it answered it."""
    say(json.dumps(answer, default=dict, ensure_ascii=False, indent=indent))
