"""Plug scripts: what would run, and why the rest would not."""

from __future__ import annotations

from pathlib import Path

from ...errors import ScriptNotFound, ScriptNotTrusted, VifplugError
from ..check import Findings, check, few, many, note, ok, problem, warning
from ..place import Place


@check("scripts", "script-directories", "The trusted directories, and everything in them")
def script_directories(place: Place) -> Findings:
    runs = [entry.name for entry in place.scripts if entry.ok]
    for entry in place.scripts:
        if entry.ok:
            continue
        reason = entry.reason or "no reason is known"
        if reason.startswith("hidden by "):
            yield note(
                f"{entry.path} is {reason}",
                why="bindings get the other one; if that is meant, all is well",
                do=f"remove or rename the one that is not meant: rm {entry.path}",
                items=[entry.path],
            )
        else:
            yield warning(
                f"{entry.path} may not run: {reason}",
                why="a binding that names it is refused",
                do="do what the reason says if the script is wanted here, else remove it; see 'vifplug scripts'",
                items=[entry.path],
            )
    if runs:
        yield ok(f"{many(len(runs), 'plug script')} would run", runs)
    else:
        yield warning(
            "no plug script would run on this host",
            why="only VIFs that name none can be plugged",
            do="install a mechanism's package, or set trust.packaged = true for those that come with vifplug",
        )


@check("scripts", "trusted-directories", "Whether nobody but their owners may write the trusted directories")
def trusted_directories(place: Place) -> Findings:
    """A script in such a directory is refused in any case; an empty one waits to be filled by somebody else."""
    owners = set(place.config.trust.owners)
    safe = []
    for directory in place.config.trust.directories:
        try:
            facts = {path: path.stat() for path in (Path(directory), *Path(directory).parents)}
        except (FileNotFoundError, NotADirectoryError):
            continue  # nothing runs from there
        loose = [path for path, fact in facts.items() if fact.st_mode & 0o022 or fact.st_uid not in owners]
        if loose:
            where, fact = loose[0], facts[loose[0]]
            yield warning(
                f"the trusted directory {directory} is not safe: {where} belongs to uid {fact.st_uid}, mode"
                f" {fact.st_mode & 0o7777:04o}",
                why="whoever may write there could put in scripts; so all that is in it is refused",
                do=f"chown root {where}; chmod go-w {where}; or take it out of trust.directories",
                items=[directory],
            )
        else:
            safe.append(directory)
    if safe:
        yield ok(f"{few(safe)}: for their owners alone to write", safe)


@check(
    "scripts", "script-settings", "What the configuration says of scripts: digests that they must have, names"
)
def script_settings(place: Place) -> Findings:
    pinned = []
    for name, settings in place.config.script.items():
        try:
            place.catalogue.find(name)
        except ScriptNotFound:
            yield note(
                f"[script.{name}] is about a script that is not installed",
                why="its settings are for nobody; a name that is misspelt would be why a script lacks them",
                do="compare the name with 'vifplug scripts'",
                items=[name],
            )
        except ScriptNotTrusted as error:
            yield problem(
                error.message,
                why="the operator named this script, so VIFs here need it, and each of their plugs is refused",
                do="do what the reason says; for a digest that differs without a reason, install the old file again",
                items=[name],
            )
        else:
            if settings.sha256:
                pinned.append(name)
    if pinned:
        yield ok(f"{few(pinned)}: as the configuration pins", pinned)


@check("scripts", "script-info", "Scripts that do not say what they can do")
def script_info(place: Place) -> Findings:
    """Nothing is run for it: what they answered when they were first used is in the ledger."""
    known = place.records.info
    asked = {entry.name: known[entry.digest] for entry in place.scripts if entry.digest in known}
    silent = [name for name, answered in asked.items() if not answered]
    if silent:
        yield note(
            f"without info: {few(silent)}",
            why="such a script is taken to know plug and unplug alone: 'vifplug check' cannot ask it, updates replace"
            " the VIF, details are not checked beforehand",
            do="ask its author for info; 'vifplug conform NAME' shows what else it lacks",
            items=silent,
        )
    elif asked:
        yield ok(f"{many(len(asked), 'script')} said what they can do", asked)


@check("scripts", "scripts-in-use", "Whether what VIFs on record were plugged with would still run")
def scripts_in_use(place: Place) -> Findings:
    used: dict[str, list[str]] = {}
    for vif in place.records.vifs:
        if vif.script is not None:
            used.setdefault(vif.script, []).append(vif.id)
    for name, vifs in used.items():
        try:
            place.catalogue.find(name)
        except VifplugError as error:
            yield problem(
                f"{name} would not run now, and {many(len(vifs), 'VIF')} on record came by it: {error.message}",
                why="unplugged now, they leave a debt: nobody tells the backend",
                do="install the script again before they are unplugged; afterwards 'vifplug gc' tries again",
                items=vifs,
            )
        else:
            yield ok(f"{name}, by which {many(len(vifs), 'VIF')} came, would run", [name])
