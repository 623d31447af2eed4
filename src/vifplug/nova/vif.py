"""The os-vif object that stands for a VIF with a plug script."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from os_vif.objects import vif as osv_vifs
from oslo_versionedobjects import base, fields


@base.VersionedObjectRegistry.register
class VIFPlugScript(osv_vifs.VIFBase):
    """A VIF of one of the eight types; all that is known of it is in the port binding.

    No subclass of another: Nova's own code must not take it for something that it knows.
    """

    VERSION = "1.0"

    fields: ClassVar[dict[str, Any]] = {
        #: JSON of the port binding
        "binding_json": fields.StringField(),
    }

    @property
    def binding(self) -> dict[str, Any]:
        """A copy of it."""
        found: dict[str, Any] = json.loads(self.binding_json)
        return found

    @binding.setter
    def binding(self, binding: dict[str, Any]) -> None:
        self.binding_json = json.dumps(binding, sort_keys=True)
