"""Whether a destination can take a guest's VIFs, asked before anything is done to either side."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .._version import __version__
from ..errors import DaemonError, DestinationUnable, VifplugError
from ..host.host import Host
from ..host.results import ScriptEntry
from ..remote import RemoteHost
from .moving import Moving


def check_able(host: Host, there: Host, vifs: Iterable[Moving], *, allow_older: bool = False) -> None:
    """Raise DestinationUnable, with the reason, for what the destination has not, has older, or refuses.

    ``allow_older``: a vifplug or a script of an older version there will do.
    """
    vifs = list(vifs)
    if not allow_older:
        _refuse_older("vifplug", _version(there), _version(host))
        scripts, others = _by_name(host), _by_name(there)
        for name in {one.there.plug_script for one in vifs} & scripts.keys() & others.keys():
            _refuse_older(f"the plug script {name}", _of(others[name]), _of(scripts[name]))
    for one in vifs:
        try:
            there.rehearse(one.there)
        except DaemonError:
            raise
        except VifplugError as error:
            raise DestinationUnable(
                f"the destination cannot take VIF {one.id}: {error.message}", vif_id=one.id, why=error.code
            ) from None


def _refuse_older(what: str, there: str, here: str) -> None:
    if (old := _numbers(there)) and (new := _numbers(here)) and old < new:
        raise DestinationUnable(
            f"{what} is version {there} at the destination, older than {here} here: upgrade it there first, or allow"
            " an older one (--allow-older)",
        )


def _version(host: Host) -> str:
    """Of vifplug, where a daemon answers; a Host of this very process is of its version."""
    return str(host.capabilities().version) if isinstance(host, RemoteHost) else __version__


def _by_name(host: Host) -> dict[str | None, ScriptEntry]:
    return {entry.name: entry for entry in host.scripts() if entry.trusted}


def _of(entry: ScriptEntry) -> str:
    return str((entry.info or {}).get("version", ""))


def _numbers(version: str) -> tuple[int, ...]:
    """Of a version like 1.2.3; none of one that is only for people."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"[0-9]+(\.[0-9]+)*", version) else ()
