"""A damaged ledger is set aside, and another is made of its backup, of what can still be read of it, and of what
kernel and scripts know.

The new ledger is made in a folder of its own and takes its place by one rename, last: killed before that, the next
call begins anew from the same files, and nothing is a ledger meanwhile.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ..config import Config
from ..errors import LedgerError, VifplugError
from ..script.contract import RequestHost
from ..script.marks import Mark, kill_marked
from .adoption import Adoption, Marked, marked_devices, restored
from .backup import NAME as BACKUP
from .copies import copy_readable, sync
from .database import make_state_dir
from .gate import Gate
from .ledger import Ledger
from .locks import Locks
from .merge import Merged, merge
from .migrations import MIGRATIONS
from .residents import end_ownerless
from .results import Rebuilt, Restored
from .salvage import Salvaged, salvage
from .troubles import Troubles

_LEDGER = "ledger.db"
_PARTS = (_LEDGER, f"{_LEDGER}-wal", f"{_LEDGER}-shm")
_ASIDE = "ledger.damaged-"
#: in a folder that was set aside: the report, once the ledger in its place is whole
_REPORT = "rebuilt.json"
_WORK = "ledger.rebuilding"
_MISSING = "it is not there, and this state directory has been used before"


def rebuild(config: Config, *, boot_id: str | None = None) -> Rebuilt:
    """Make the ledger of this state directory usable again; a whole one is left in place.

    In either case, devices that bear the ledger's mark and have no record get one. ``boot_id``: the boot we
    live in; the kernel's own when not given. No Host need be closed for it: one that was opened before refuses
    to write (LedgerReplaced).

    Raises Busy when another process is rebuilding it, LedgerError for a ledger of a newer vifplug, DiskFull
    and NoPermission: then what there was lies where the message or the next call says, and nothing is lost.
    """
    state_dir = Path(config.state_dir)
    troubles = Troubles(state_dir / _LEDGER, config.lock_wait)
    with troubles.explained():
        make_state_dir(state_dir)
        return _Rebuilding(config, boot_id or RequestHost.here().boot_id).run()


def damage(config: Config) -> str | None:
    """What is wrong with the ledger, every page and record of it read; None when it is whole, or not there yet.

    Opening a ledger reads little of it: a service asks this when it starts. Raises Busy and what ``rebuild`` does.
    """
    with Troubles(Path(config.state_dir) / _LEDGER, config.lock_wait).explained():
        return _Rebuilding(config, RequestHost.here().boot_id).damage()


class _Rebuilding:
    def __init__(self, config: Config, boot_id: str) -> None:
        self._config = config
        self._boot_id = boot_id
        self._state_dir = Path(config.state_dir)
        self._work = self._state_dir / _WORK
        self._locks = Locks(self._state_dir)
        self._began = time.monotonic()
        self._ended = 0

    def run(self) -> Rebuilt:
        if self._was_used():
            with self._alone():
                if (rebuilt := self._replace()) is not None:
                    return rebuilt
        with contextlib.closing(Ledger(self._state_dir, self._boot_id)) as ledger:
            return self._report(ledger, None, self._adopt(ledger, marked_devices()))

    def damage(self) -> str | None:
        if not self._was_used():
            return None
        with self._alone():
            backup = self._read(self._state_dir, "backup", BACKUP, set(), set())
            here = self._read(self._state_dir, "here", _LEDGER, set(), set())
        return _damage(here, backup) if here else _MISSING

    def _was_used(self) -> bool:
        return any((self._state_dir / name).exists() for name in ("locks", *_PARTS))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else uses the ledger's files, and there is a folder to work in."""
        with contextlib.closing(Gate(self._state_dir)) as gate, gate.alone(self._config.lock_wait):
            self._clear_work()
            try:
                yield
            finally:
                shutil.rmtree(self._work, ignore_errors=True)

    def _clear_work(self) -> None:
        """What a rebuild that was killed had begun, and the scripts it was asking."""
        begun = self._work / "new"
        if (begun / _LEDGER).exists():
            with (
                contextlib.suppress(VifplugError),
                contextlib.closing(Ledger(begun, self._boot_id)) as ledger,
            ):
                self._end([mark for row in ledger.unfinished() if (mark := row.mark)])
                end_ownerless(ledger)
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(mode=0o700)

    # --- the path -----------------------------------------------------------------------------

    def _replace(self) -> Rebuilt | None:
        """Put a new ledger in the place of a damaged one; None when it is whole."""
        devices = marked_devices()
        backup = self._read(self._state_dir, "backup", BACKUP, set(), set())
        ids = {device.vif_id for device in devices}
        keys = set(backup.rows) if backup else set()
        here = self._read(self._state_dir, "here", _LEDGER, ids, keys)
        if here is not None and (damage := _damage(here, backup)) is None:
            self._close(here)
            return None
        if here is not None and here.version > len(MIGRATIONS) and here.ledger_id:
            raise LedgerError(
                f"the ledger {self._state_dir / _LEDGER} is damaged, and a newer vifplug wrote it (version"
                f" {here.version} of its schema): install that version again, and have it rebuild the ledger"
            )
        aside = self._set_aside(here is not None)
        sources = [here] if here else []
        last = max((source.rebuilt for source in (here, backup) if source), default="")
        for number, folder in enumerate(self._unfinished(last)):
            if here is None or folder != aside:
                found = self._read(folder, str(number), _LEDGER, ids, keys)
                sources += [found] if found else []
        if here is None:
            damage = f"{sources[0].damage}; a rebuild of it was interrupted" if sources else _MISSING
        return self._build(
            merge(sources, backup, devices, self._boot_id), backup, aside, damage or "", devices
        )

    def _build(
        self, merged: Merged, backup: Salvaged | None, aside: Path, damage: str, devices: Sequence[Marked]
    ) -> Rebuilt:
        self._end([row.mark for row, _ in merged.rows if row.mark and self._is_free(row.record.id)])
        new = self._work / "new"
        with contextlib.closing(Ledger(new, self._boot_id)) as ledger:
            ledger.continue_as(merged.ledger_id or ledger.id, merged.generation, aside.name)
            vifs = self._fill(ledger, merged)
            vifs += self._adopt(ledger, devices)
            report = self._report(ledger, damage, vifs)
            report = msgspec.structs.replace(
                report,
                set_aside=str(aside),
                backup=str(backup.path) if backup and merged.used_backup else None,
                backup_made=backup.written if backup and merged.used_backup else None,
                not_restored=merged.not_restored,
                calls=len(merged.calls),
            )
        self._install(new / _LEDGER)
        _write(aside / _REPORT, msgspec.json.format(msgspec.json.encode(report), indent=2))
        return msgspec.structs.replace(report, seconds=time.monotonic() - self._began)

    def _fill(self, ledger: Ledger, merged: Merged) -> list[Restored]:
        """The records, in one commit, the newest first: they go before what they followed."""
        vifs = []
        with ledger.one_commit() as together:
            for digest, reply in merged.infos.items():
                together.keep_info(digest, reply)
            for mark, owner in merged.residents:
                together.keep_resident(mark, owner)
            together.put_calls(merged.calls)
            for row, source in merged.rows:
                together.put(row)
                error = row.record.error or {}
                vifs.append(restored(row, source, error.get("message") if error.get("known_from") else None))
        before = len(ledger.residents())
        end_ownerless(ledger)
        self._ended += before - len(ledger.residents())
        return vifs

    def _adopt(self, ledger: Ledger, devices: Sequence[Marked]) -> list[Restored]:
        with contextlib.closing(Adoption(self._config, ledger, self._locks, self._boot_id)) as adoption:
            return adoption.adopt(devices)

    def _install(self, new: Path) -> None:
        with contextlib.closing(sqlite3.connect(new)) as connection:
            [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise LedgerError(
                    f"the new ledger {new} is not whole ({found}): the disk or the memory is at fault"
                )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync(new)
        new.rename(self._state_dir / _LEDGER)
        sync(self._state_dir)

    # --- files --------------------------------------------------------------------------------

    def _read(
        self, folder: Path, name: str, file: str, ids: set[str], keys: set[tuple[str, int]]
    ) -> Salvaged | None:
        """What there is in a ledger, read from a copy: the files themselves are left as they are."""
        original = folder / file
        if not original.exists():
            return None
        copy = self._work / name
        copy.mkdir(mode=0o700)
        written = 0.0
        for suffix in ("-wal", ""):  # the log first: what is brought from it to the file meanwhile is in both
            with contextlib.suppress(FileNotFoundError):
                copy_readable(Path(f"{original}{suffix}"), copy / f"{_LEDGER}{suffix}")
                written = max(written, Path(f"{original}{suffix}").stat().st_mtime)
        found = salvage(copy / _LEDGER, self._boot_id, ids, keys)
        shutil.rmtree(copy)
        return msgspec.structs.replace(found, path=original, written=written)

    def _set_aside(self, damaged: bool) -> Path:
        """Move the damaged files to where nobody looks for a ledger, or finish doing so."""
        aside = self._aside(damaged)
        for part in _PARTS:  # the database first: without it, nobody takes the rest for a ledger
            with contextlib.suppress(FileNotFoundError):
                (self._state_dir / part).rename(aside / part)
        sync(aside)
        sync(self._state_dir)
        return aside

    def _aside(self, damaged: bool) -> Path:
        unfinished = self._unfinished("")
        if unfinished and not (damaged and (unfinished[0] / _LEDGER).exists()):
            return unfinished[0]
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(1, 1000):
            aside = self._state_dir / f"{_ASIDE}{stamp}-{number:03}"
            with contextlib.suppress(FileExistsError):
                aside.mkdir(mode=0o700)
                return aside
        raise LedgerError(f"there are too many folders named {_ASIDE}{stamp}-… in {self._state_dir}")

    def _unfinished(self, after: str) -> list[Path]:
        """What was set aside and has no ledger in its place yet, the newest first."""
        folders = sorted(self._state_dir.glob(f"{_ASIDE}*"), reverse=True)
        return [folder for folder in folders if folder.name > after and not (folder / _REPORT).exists()]

    def _close(self, here: Salvaged) -> None:
        """Killed after the new ledger took its place, a rebuild had but its report to write."""
        for folder in self._unfinished(""):
            if folder.name <= here.rebuilt:
                _write(folder / _REPORT, b"{}")

    # --- the rest -----------------------------------------------------------------------------

    def _end(self, marks: Sequence[str]) -> None:
        for mark in marks:
            self._ended += kill_marked(Mark.from_text(mark))

    def _is_free(self, vif_id: str) -> bool:
        with self._locks.try_vif(vif_id) as free:
            return free

    def _report(self, ledger: Ledger, damage: str | None, vifs: list[Restored]) -> Rebuilt:
        return Rebuilt(
            damage=damage, set_aside=None, backup=None, backup_made=None, ledger=ledger.id,
            generation=ledger.generation(), vifs=sorted(vifs, key=lambda vif: vif.generation), not_restored=[],
            calls=0, ended=self._ended, seconds=time.monotonic() - self._began,
        )  # fmt: skip


def _damage(here: Salvaged, backup: Salvaged | None) -> str | None:
    if here.damage is not None:
        return here.damage
    if backup is not None and (backup.generation or 0) > (here.generation or 0):
        return (
            f"it has come to generation {here.generation}, and its own backup to {backup.generation}: it lost what"
            " was recorded last"
        )
    return None


def _write(path: Path, text: bytes) -> None:
    made = path.with_name(f"{path.name}.new")
    made.write_bytes(text)
    sync(made)
    made.replace(path)
    sync(path.parent)
