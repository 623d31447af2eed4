"""vifplug itself: its configuration, its daemon, what it needs to be installed."""

from __future__ import annotations

import grp
import pwd
import re
import resource
from pathlib import Path

from ..._version import __version__
from ...errors import NotAllowed, VifplugError
from ..check import Findings, Unseen, check, few, note, ok, problem, warning
from ..place import Place

#: seconds that the daemon may take to say who it is
_PATIENCE = 5.0
#: descriptors that one call of a script takes at most (three pipes, a pidfd), and what is open anyhow
_PER_CALL, _ANYHOW = 8, 64


@check("vifplug", "configuration", "The configuration, as every command reads it")
def configuration(place: Place) -> Findings:
    if place.config_error is None:
        yield ok("the configuration is read")
        return
    for line in place.config_error.message.splitlines():
        yield problem(
            line,
            why="every command but this one refuses to run; the defaults are taken for what follows",
            do="mend the file that the line names; 'vifplug config --example' prints one with every key",
        )


@check("vifplug", "tools", "The programs that vifplug's own plug scripts run")
def tools(place: Place) -> Findings:
    if place.program("ip") is None:
        yield warning(
            "ip is not installed",
            why="nearly every plug script runs it",
            do="install iproute2: apt-get install iproute2",
        )
    missing = {
        name: why
        for name, why in (
            ("nft", "anti-spoofing rules are nftables"),
            ("bridge", "linux-bridge with a vlan, and vxlan-bridge, need it"),
            ("sysctl", "routed sets a tap's settings with it"),
        )
        if place.program(name) is None
    }
    for name, why in missing.items():
        package = {"nft": "nftables", "bridge": "iproute2", "sysctl": "procps"}[name]
        yield note(f"{name} is not installed", why=why, do=f"apt-get install {package}")
    present = [name for name in ("ip", "nft", "bridge", "sysctl") if place.program(name)]
    if present:
        yield ok(
            f"{few(present)} are installed" if len(present) > 1 else f"{present[0]} is installed", present
        )


@check("vifplug", "descriptors", "Whether this process may open files for as many scripts as run at once")
def descriptors(place: Place) -> Findings:
    """``plug --all`` has ``workers`` scripts at once, and its limit is that of whoever starts it."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = float("inf") if soft == resource.RLIM_INFINITY else soft
    needed = place.config.workers * _PER_CALL + _ANYHOW
    if allowed < needed:
        fewer = int(max(1, (allowed - _ANYHOW) // _PER_CALL))
        yield warning(
            f"this process may open {soft} files, and workers = {place.config.workers} may need {needed}",
            why="in a large plug --all the VIFs that get no descriptor fail",
            do=f"ulimit -n {needed} (LimitNOFILE={needed} for a service), or set workers to {fewer}",
        )
    else:
        yield ok(f"this process may open {soft} files; {place.config.workers} workers need {needed} at most")
    for pid in place.processes.get("vifplugd", []):
        yield from _descriptors_of_daemon(place, pid)
    most = place.number("/proc/sys/fs/file-max")
    if most is not None and most < 4 * needed:
        yield warning(
            f"fs.file-max is {most}: all processes together may open no more files",
            why=f"scripts, taps and their guests share that number, and scripts alone may take {needed}",
            do=f"sysctl -w fs.file-max={max(1 << 20, 16 * needed)}",
        )


def _descriptors_of_daemon(place: Place, pid: int) -> Findings:
    settings = place.config.daemon
    needed = settings.requests * _PER_CALL + settings.connections + _ANYHOW
    found = re.search(r"^Max open files +(\d+)", place.read(f"/proc/{pid}/limits") or "", re.MULTILINE)
    if found and int(found[1]) < needed:
        yield warning(
            f"vifplugd may open {found[1]} files; {settings.connections} connections and {settings.requests} requests"
            f" may need {needed}",
            why="beyond that, requests fail instead of waiting for their turn",
            do=f"LimitNOFILE={needed} in its unit (systemctl edit vifplugd), or lower daemon.requests",
        )


# --- the daemon ----------------------------------------------------------------------------------


@check("vifplug", "daemon", "Whether vifplugd answers, and is of this version")
def daemon(place: Place) -> Findings:
    name = place.config.socket_path
    path = place.path(name)
    pids = place.processes.get("vifplugd", [])
    if not path.exists() and not path.is_symlink():
        if pids:
            yield warning(
                f"vifplugd runs (process {pids[0]}), but not at {name}",
                why="it serves another state_dir or was given another socket: the commands here do not reach it",
                do="compare 'vifplug config' with the configuration that it was started with",
            )
        else:
            yield note(
                f"vifplugd does not run (there is no {name})",
                why="commands do their work themselves; without it nobody plugs who is not root, notices a tap that"
                " goes away, or tries debts again",
                do="systemctl enable --now vifplugd.socket vifplugd.service, or run vifplugd",
            )
        return
    from ...client import Client
    from ...client.connecting import NobodyListens

    try:
        with Client(str(path), timeout=_PATIENCE) as client:
            version = client.capabilities()["version"]
    except NobodyListens:
        yield warning(
            f"nobody listens at {name}, though the socket is there",
            why="vifplugd was killed and has not come back: what it did by itself is not done",
            do="start vifplugd again (systemctl restart vifplugd); without systemd: vifplugd",
        )
        return
    except NotAllowed as error:
        raise Unseen(
            error.message, "name this user or its group in daemon.readers, or run it as root"
        ) from None
    except (VifplugError, KeyError) as error:
        yield problem(
            f"what listens at {name} does not answer as vifplugd does: {error}",
            why="whoever plugs through it waits or fails",
            do="see its log (journalctl -u vifplugd), and restart it: it loses nothing",
        )
        return
    if version != __version__:
        yield warning(
            f"vifplugd is version {version}, this command {__version__}",
            why="the package was changed under the running daemon",
            do="restart it, it loses nothing: systemctl restart vifplugd",
        )
    else:
        yield ok(f"vifplugd {version} answers at {name}")


@check("vifplug", "roles", "Whether this host knows the users and groups that may ask vifplugd")
def roles(place: Place) -> Findings:
    settings = place.config.daemon
    unknown: dict[str, list[str]] = {}
    known = []
    for role in ("readers", "pluggers", "admins"):
        for member in getattr(settings, role):
            if _known(place, member):
                known.append(f"{member} ({role})")
            else:
                unknown.setdefault(member, []).append(f"daemon.{role}")
    for member, where in unknown.items():
        if member == "@vifplug":
            yield note(
                f"there is no group vifplug, which {' and '.join(where)} name",
                why="until there is, root alone may do what they allow",
                do="groupadd --system vifplug; usermod -aG vifplug USER",
            )
        else:
            kind = "group" if member.startswith("@") else "user"
            yield warning(
                f"{' and '.join(where)}: there is no {kind} {member.removeprefix('@')} on this host",
                why="nobody has that role by it, and whoever gets that name later has it",
                do=f"take {member} out, or make it: {kind}add {member.removeprefix('@')}",
                items=[member],
            )
    if known:
        yield ok(f"vifplugd may be asked by {few(known)}", known)


def _known(place: Place, member: str) -> bool:
    if member == "*" or re.fullmatch(r"@?[0-9]+", member):
        return True
    if place.root != Path("/"):  # the databases of the host that is pointed to are its files
        kind, name = ("group", member[1:]) if member.startswith("@") else ("passwd", member)
        return any(line.startswith(f"{name}:") for line in (place.read(f"/etc/{kind}") or "").splitlines())
    try:
        if member.startswith("@"):
            grp.getgrnam(member[1:])
        else:
            pwd.getpwnam(member)
    except KeyError:
        return False
    return True
