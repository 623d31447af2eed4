"""A port of a test's, as Neutron's REST API shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Port:
    """A port as it was when it was read, or one of its bindings (``Neutron.bind``)."""

    #: what the REST API says of it, which ``vifplug plug`` takes as it is
    rest: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.rest["id"])

    @property
    def host(self) -> str:
        """Where it is bound; empty: nowhere."""
        return str(self.rest["binding:host_id"])

    @property
    def status(self) -> str:
        """ACTIVE, DOWN or BUILD."""
        return str(self.rest["status"])

    @property
    def vif_type(self) -> str:
        """One of the eight; or unbound, or binding_failed."""
        return str(self.rest["binding:vif_type"])

    @property
    def details(self) -> dict[str, Any]:
        """Its vif_details."""
        found: dict[str, Any] = self.rest["binding:vif_details"]
        return found

    @property
    def why(self) -> str | None:
        """Why a driver of vifplug's refused it; None where none did."""
        return self.details.get("binding_failure")

    @property
    def xml(self) -> str:
        """The guest's ``<interface>``. Raises InvalidInput where the binding cannot be plugged."""
        from ...guest import interface_xml
        from ...model import read_binding

        return interface_xml(read_binding(self.rest))
