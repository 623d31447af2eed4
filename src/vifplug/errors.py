"""Every error a caller can meet: a small tree, one stable code and one exit status each.

``code`` is for programs and never changes its meaning; the message is for people: what is
wrong, with which value, and what to do. ``exit_status`` is what the command line ends with; the
numbers are those of sysexits.h, which the plug-script contract uses too.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VifplugError(Exception):
    """Base of all errors that vifplug raises on purpose."""

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        #: Facts for programs (``field``, ``value``, ``vif_id``, ``script`` …), all JSON-able.
        self.context = context

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON: ``{"code": …, "message": …, …context}``."""
        return {"code": self.code, "message": self.message, **self.context}


class InvalidInput(VifplugError):
    """A binding, name or value that cannot be used. ``field`` names the place."""

    code = "invalid_input"
    exit_status = 65


class UnsupportedVifType(InvalidInput):
    """A VIF type that no libvirt host can offer (hyperv, dvs, …)."""

    code = "unsupported_vif_type"


class ConfigError(VifplugError):
    """The configuration file is wrong; the message names file and line."""

    code = "bad_config"
    exit_status = 78


class NotPlugged(VifplugError):
    """There is no record of this VIF on this host."""

    code = "not_plugged"
    exit_status = 66


# --- scripts -------------------------------------------------------------------------------


class ScriptError(VifplugError):
    """Something about a plug script; ``script`` is the name that was asked for."""


class ScriptNotFound(ScriptError):
    code = "script_not_found"
    exit_status = 69


class ScriptNotTrusted(ScriptError):
    code = "script_not_trusted"
    exit_status = 77


class ScriptFailed(ScriptError):
    """The script ended with a status that the contract gives no other meaning."""

    code = "failed"
    exit_status = 1


class VerbNotSupported(ScriptError):
    code = "verb_not_supported"
    exit_status = 64


class BadDetails(ScriptError):
    code = "bad_details"
    exit_status = 65


class BackendUnavailable(ScriptError):
    code = "backend_unavailable"
    exit_status = 69


class RetryLater(ScriptError):
    code = "retry_later"
    exit_status = 75


class TimedOut(ScriptError):
    code = "timed_out"
    exit_status = 124


class BadReply(ScriptError):
    """The script answered something that the contract or the VIF type does not allow."""

    code = "bad_reply"
    exit_status = 76


# --- host ----------------------------------------------------------------------------------


class HostError(VifplugError):
    """Something about this host: its kernel, its disk, its permissions."""

    code = "host_failed"
    exit_status = 71


class DeviceTaken(HostError):
    """The device name belongs to somebody else."""

    code = "device_taken"
    exit_status = 73


class VifInUse(HostError):
    """The change needs another device, and a guest holds the present one open."""

    code = "vif_in_use"
    exit_status = 75


class UpdateRefused(HostError):
    """The change cannot be made on a live VIF."""

    code = "update_refused"
    exit_status = 65


class DeviceFailed(HostError):
    """The kernel refused to make, change or remove a device."""

    code = "device_failed"


class KernelUnsupported(HostError):
    code = "kernel_unsupported"


class NoPermission(HostError):
    code = "no_permission"
    exit_status = 77


class Busy(HostError):
    """Another process worked on the same VIF for longer than the caller would wait."""

    code = "busy"
    exit_status = 75


class LedgerError(HostError):
    """The ledger could not be read or written; nothing was changed."""

    code = "ledger_failed"
    exit_status = 74


class LedgerCorrupt(LedgerError):
    code = "ledger_corrupt"


class LedgerReplaced(LedgerError):
    """The ledger was rebuilt, or taken away, since this process opened it: nothing was recorded."""

    code = "ledger_replaced"
    exit_status = 75


class PartlyKnown(LedgerError):
    """Kept on record for a VIF of which not all is known, since the ledger was rebuilt: plug it again."""

    code = "partly_known"


class DiskFull(LedgerError):
    code = "disk_full"


class UndoIncomplete(HostError):
    """Something could not be undone; it is on record as a debt and will be tried again."""

    code = "undo_incomplete"
    exit_status = 75


# --- guests --------------------------------------------------------------------------------


class GuestError(HostError):
    """Something between vifplug and who runs the guests: libvirt or QEMU."""


class LibvirtUnreachable(GuestError):
    """libvirt does not answer, or Python's binding to it is missing."""

    code = "libvirt_unreachable"
    exit_status = 69


class LibvirtRefused(GuestError):
    """libvirt would not do what was asked; its own words are in the message."""

    code = "libvirt_refused"


class NoSuchDomain(GuestError):
    """libvirt knows no domain of this name, UUID or number."""

    code = "no_such_domain"
    exit_status = 66


class DestinationUnable(GuestError):
    """The destination of a live migration cannot take a guest's VIF; nothing was done."""

    code = "destination_unable"
    exit_status = 69


class MigrationFailed(GuestError):
    """The guest did not move: it is where it was, and the destination is as it was."""

    code = "migration_failed"


class QemuUnreachable(GuestError):
    """Nobody speaks QMP at the socket, or the connection broke off."""

    code = "qemu_unreachable"
    exit_status = 69


class QemuRefused(GuestError):
    """QEMU would not do what was asked; its own words are in the message."""

    code = "qemu_refused"


class GuestHolds(GuestError):
    """The guest did not let go of its device: the VIF stays plugged."""

    code = "guest_holds"
    exit_status = 75


# --- vifplugd ------------------------------------------------------------------------------


class DaemonError(VifplugError):
    """Something between a client and vifplugd."""


class NotAllowed(DaemonError):
    """The caller's role does not reach that far."""

    code = "not_allowed"
    exit_status = 77


class TooBusy(DaemonError):
    """A bound is reached: nothing was begun. ``retry_after`` says in how many seconds to ask again."""

    code = "too_busy"
    exit_status = 75


class Stopping(DaemonError):
    """vifplugd is being stopped and takes on nothing more."""

    code = "stopping"
    exit_status = 75


class Bug(DaemonError):
    """vifplugd itself is wrong."""

    code = "bug"
    exit_status = 70

    def __init__(
        self, message: str = "this is a bug in vifplug; the daemon's log has the traceback", **context: Any
    ) -> None:
        super().__init__(message, **context)


class DaemonUnreachable(DaemonError):
    """Nobody answers at the socket, or the connection broke off."""

    code = "daemon_unreachable"
    exit_status = 69


def from_dict(error: dict[str, Any]) -> VifplugError:
    """The error that ``VifplugError.as_dict`` wrote; an unknown code gives a VifplugError that keeps it."""
    context = dict(error)
    code, message = context.pop("code", "failed"), context.pop("message", "no reason was given")
    kind = _by_code().get(code)
    return kind(message, **context) if kind else VifplugError(message, code=code, **context)


def _by_code() -> dict[str, type[VifplugError]]:
    """The error of each code; where two share one, the first that is not a mere family."""
    found: dict[str, type[VifplugError]] = {}
    families = [VifplugError]
    while families:
        family = families.pop(0)
        for kind in family.__subclasses__():
            families.append(kind)
            if "code" in vars(kind) and kind.__module__ == __name__:  # the public ones
                found.setdefault(kind.code, kind)
    return found
