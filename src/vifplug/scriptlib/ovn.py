"""OVN on this host: a VIF is plugged once ovn-controller has bound it, by its iface-id, and installed its flows.

ovn-controller says so in the interface's external_ids:ovn-installed (ovn-controller(8)).
"""

from __future__ import annotations

from plugscript import BackendUnavailable, Failed, Request

from .openvswitch import Mechanism, connect, in_our_words
from .ovsdb import Ovsdb
from .ovsport import ports_of
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]


class Ovn(Mechanism):
    """Open vSwitch with ovn-controller beyond it."""

    def default_bridge(self, db: Ovsdb) -> str:
        """The integration bridge that ovn-controller uses."""
        return _settings(db).get("ovn-bridge") or "br-int"

    def look_beyond(self, db: Ovsdb) -> None:
        if not any(key == "ovn-remote" or key.startswith("ovn-remote-") for key in _settings(db)):
            raise BackendUnavailable(
                "OVN is not set up on this host: Open vSwitch has no external_ids:ovn-remote, "
                "which tells ovn-controller where its southbound database is"
            )

    def is_ready(self, request: Request, interface: Row) -> bool:
        return _waits_for_the_source(request) or interface["external_ids"].get("ovn-installed") == "true"

    def why_not_ready(self, plan: Plan) -> str:
        return (
            f"ovn-controller has not installed the flows of logical port {plan.ids['iface-id']}: is there a logical "
            "switch port of that name, may it be on this host (requested-chassis), is ovn-controller running?"
        )

    @in_our_words
    def activate(self, request: Request) -> None:
        """The guest runs here now: OVN has its port here, or is about to."""
        with connect(request) as db:
            plan = Plan(request, self.default_bridge(db))
            names = ports_of(db, plan.ids, plan.names())
            if not names:
                raise Failed(
                    f"Open vSwitch on this host has no port with the iface-id {plan.ids['iface-id']}"
                )
            if not request.dry_run:
                self.wait(db, plan, names[0])


def _settings(db: Ovsdb) -> dict[str, str]:
    ids: dict[str, str] = db.select("Open_vSwitch", [], ["external_ids"])[0]["external_ids"]
    return ids


def _waits_for_the_source(request: Request) -> bool:
    """Before a live migration OVN may still have the port on the other host, and nothing to install here."""
    migration = request.migration
    return (
        migration is not None
        and migration.role == "destination"
        and migration.phase in ("prepare", "running")
    )
