"""What a host tells Neutron of its plug scripts, so that no port is bound where it could not be plugged.

It travels as the ``configurations`` of an agent's state report (agent type ``AGENT_TYPE``), which Neutron
keeps, shows (``openstack network agent show``) and lets grow old by itself: no table and no RPC of our own.
Neutron's column holds 4,095 characters. The schemas of all scripts go without their descriptions and compressed
together, for they say much the same; where even that is too long, the largest are left out, and those details
are checked at plug alone.

Nothing here needs Neutron: a host writes its report without it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from .._version import CONTRACT_VERSION, __version__
from ..model import VifType
from ..model.learn import learn

AGENT_TYPE = "vifplug host agent"
#: agents.configurations is a column of this many characters (neutron/db/models/agent.py)
MOST = 4095
#: a schema set of 4,095 characters unpacks to less than this; more is no honest report
_MOST_UNPACKED = 1024 * 1024
_REASON = 120


class ScriptFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One script of a host. What is empty is not known."""

    version: str | None = None
    #: the first 16 hexadecimal digits of its SHA-256: enough to see which hosts differ
    digest: str | None = None
    vif_types: list[str] = []
    protocols: list[int] = field(default_factory=lambda: [CONTRACT_VERSION])
    #: why the host would not run it
    refused: str | None = None


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a host tells. A later host may tell more: it is ignored."""

    #: the host's vifplug
    version: str
    scripts: dict[str, ScriptFacts]
    protocols: list[int] = field(default_factory=lambda: [CONTRACT_VERSION])
    vif_types: list[str] = []
    #: the physical networks that it reaches; None: it does not say
    physical_networks: list[str] | None = None
    #: whether an agent plugs there and reports ports up and down itself
    reports_status: bool = False
    #: JSON of {script: schema of its details}, zlib, base 85
    schemas: str | None = None

    def schema(self, script: str) -> Any | None:
        """The JSON Schema of a script's details, or None. Raises ValueError for what cannot be read."""
        if self.schemas is None:
            return None
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(base64.b85decode(self.schemas), _MOST_UNPACKED)
        except zlib.error as error:
            raise ValueError(f"its schemas cannot be unpacked: {error}") from None
        schemas = json.loads(text)
        return schemas.get(script) if isinstance(schemas, dict) else None


learn(Report)


def write(
    entries: Iterable[Mapping[str, Any]],
    *,
    physical_networks: Iterable[str] | None = None,
    reports_status: bool = False,
) -> dict[str, Any]:
    """A host's ``configurations``. ``entries`` are those that ``vifplug scripts --json`` prints.

    Raises ValueError where even without schemas it is longer than Neutron can keep.
    """
    scripts: dict[str, ScriptFacts] = {}
    schemas: dict[str, Any] = {}
    for entry in entries:
        name, info = entry["name"], entry.get("info") or {}
        if not entry["trusted"]:
            scripts[name] = ScriptFacts(refused=str(entry.get("reason"))[:_REASON])
            continue
        scripts[name] = ScriptFacts(
            version=info.get("version"),
            digest=str(entry.get("digest") or "").removeprefix("sha256:")[:16] or None,
            vif_types=info.get("vif_types") or [],
            protocols=info.get("protocols") or [CONTRACT_VERSION],
        )
        if info.get("details_schema"):
            schemas[name] = _without_words(info["details_schema"])
    report = Report(
        version=__version__,
        scripts=scripts,
        vif_types=[str(type_) for type_ in VifType],
        physical_networks=None if physical_networks is None else sorted(physical_networks),
        reports_status=reports_status,
    )
    by_size = sorted(schemas, key=lambda name: len(json.dumps(schemas[name])))
    while True:
        packed = _pack({name: schemas[name] for name in by_size}) if by_size else None
        found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(report, schemas=packed))
        size = len(json.dumps(found))
        if size <= MOST:
            return found
        if not by_size:
            raise ValueError(
                f"the report of {len(scripts)} scripts takes {size} characters, and Neutron keeps {MOST}"
            )
        by_size.pop()


def read(configurations: Mapping[str, Any]) -> Report:
    """The report in an agent's configurations. Raises ValueError for what is none."""
    try:
        return msgspec.convert(configurations, Report)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _without_words(schema: Any) -> Any:
    """A JSON Schema without what it says to people."""
    if isinstance(schema, list):
        return [_without_words(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in ("const", "enum") else _without_words(value)
        for key, value in schema.items()
        # a property may have such a name: then its value is a schema, and no text
        if not (key in ("description", "title", "$comment") and isinstance(value, str))
    }


def _pack(schemas: Mapping[str, Any]) -> str:
    text = json.dumps(schemas, separators=(",", ":"), sort_keys=True)
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()
