"""What a domain has: its interfaces, and the VIFs that vifplug keeps in its metadata.

The binding of a VIF stands in the domain's own XML, in an element of a namespace of the VIF's own::

    <metadata>
      <vifplug:vif xmlns:vifplug="urn:vifplug:vif:4c1b1b0a-…" ready="yes">{"id": …}</vifplug:vif>
    </metadata>

libvirt takes one element for each namespace, and sets one without touching the others: so two who attach two
VIFs at the same time do not lose each other's. It goes where the domain goes: through ``virsh dumpxml`` and
``define``, and over a live migration.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from enum import IntFlag
from xml.etree import ElementTree as ET

from msgspec import Struct
from msgspec.structs import replace

from ..errors import InvalidInput, LibvirtRefused
from ..model import Vif, as_binding, read_binding
from .connection import Domain, binding, translated

#: how libvirt's users know an interface of ours; the VIF's id follows
ALIAS = "ua-vifplug-"
#: of a VIF's element in the metadata; its id follows
NAMESPACE = "urn:vifplug:vif:"
_PREFIX = "vifplug"
#: seconds that plugging, attaching or starting may take before others may think that whoever began it has died
LEASE = 120.0


class Scope(IntFlag):
    """Which of a domain's two states: libvirt's VIR_DOMAIN_AFFECT_LIVE and _CONFIG."""

    LIVE = 1
    CONFIG = 2


class Kept(Struct, frozen=True):
    """A VIF in a domain's metadata."""

    id: str
    binding: str
    #: whether it stays plugged while its guest is off, for the next start by whomever
    ready: bool = False
    #: seconds since 1970 until when somebody is at work with it: plugs it, attaches it, starts the guest
    until: float = 0.0

    @property
    def at_work(self) -> bool:
        return self.until > time.time()

    def vif(self) -> Vif:
        """Raises InvalidInput, for what somebody wrote into the domain by hand."""
        try:
            return read_binding(self.binding)
        except InvalidInput as error:
            error.message = f"the binding of VIF {self.id} in the domain's metadata: {error.message}"
            raise


class Interface(Struct, frozen=True):
    """One ``<interface>`` of a domain, as libvirt tells it."""

    type: str
    alias: str | None
    address: str | None
    device: str | None
    element: ET.Element

    @property
    def vif_id(self) -> str | None:
        """The VIF that it was made for by us."""
        return self.alias.removeprefix(ALIAS) if self.alias and self.alias.startswith(ALIAS) else None


class Definition:
    """One of a domain's two states, as it is at one moment."""

    def __init__(self, xml: str) -> None:
        root = ET.fromstring(xml)  # noqa: S314  # libvirt's own
        self.name = root.findtext("name", "")
        self.uuid = root.findtext("uuid", "")
        self.kept = {kept.id: kept for kept in _kept(root)}
        self.interfaces = [_interface(element) for element in root.iterfind("./devices/interface")]

    @classmethod
    def of(cls, domain: Domain, scope: Scope) -> Definition:
        """The live state, or the definition."""
        library = binding()
        flags = library.VIR_DOMAIN_XML_INACTIVE if scope is Scope.CONFIG else 0
        # who may read only is not told passwords, and nothing here needs them
        with translated("tell the domain's XML"):
            return cls(domain.XMLDesc(flags))

    def of_vif(self, vif_id: str) -> Interface | None:
        return next((one for one in self.interfaces if one.vif_id == vif_id), None)

    def like(self, vif: Vif) -> Interface | None:
        """The interface of this VIF: ours by its name, or one that somebody else attached, by its MAC."""
        by_address = (
            one for one in self.interfaces if one.address is not None and one.address == vif.address
        )
        return self.of_vif(vif.id) or next(by_address, None)


def _kept(root: ET.Element) -> Iterator[Kept]:
    for element in root.iterfind("./metadata/*"):
        namespace = element.tag.partition("}")[0].lstrip("{")
        if not namespace.startswith(NAMESPACE):
            continue
        try:
            until = float(element.get("until", "0"))
        except ValueError:
            until = 0.0
        yield Kept(
            namespace.removeprefix(NAMESPACE), element.text or "", element.get("ready") == "yes", until
        )


def _interface(element: ET.Element) -> Interface:
    def value(path: str, name: str) -> str | None:
        found = element.find(path)
        return None if found is None else found.get(name)

    address = value("mac", "address")
    return Interface(
        element.get("type", ""),
        value("alias", "name"),
        address.lower() if address else None,
        value("target", "dev"),
        element,
    )


# --- a VIF's own marks ----------------------------------------------------------------------------


def ours(vif: Vif, domain: Domain) -> Vif:
    """The VIF with the alias by which we know its interface, and with its guest named where the binding does not."""
    alias = ALIAS + vif.id
    if vif.alias not in (None, alias):
        raise InvalidInput(
            f"alias: {vif.alias!r} cannot be used here: the interface is named {alias}, so that it is found again;"
            " leave alias out",
            field="alias",
            value=vif.alias,
            vif_id=vif.id,
        )
    if vif.address is None:
        raise InvalidInput(
            "address is missing: libvirt would choose another MAC for the definition than for the running guest",
            field="address",
            value=None,
            vif_id=vif.id,
        )
    instance = vif.instance
    named = replace(instance, id=instance.id or domain.UUIDString(), name=instance.name or domain.name())
    return replace(vif, alias=alias, instance=named)


def keep(domain: Domain, vif: Vif, scope: Scope, *, ready: bool = False, working: bool = False) -> None:
    """Write the VIF into the domain's metadata, or what is there anew. ``working``: for LEASE seconds, or until
    it is written again, nobody else shall think the VIF needs plugging or unplugging."""
    element = ET.Element("vif")
    if ready:
        element.set("ready", "yes")
    if working:
        element.set("until", f"{time.time() + LEASE:.3f}")
    element.text = json.dumps(as_binding(vif), ensure_ascii=False)
    _set(domain, vif.id, ET.tostring(element, encoding="unicode"), scope)


def drop(domain: Domain, vif_id: str, scope: Scope) -> None:
    """Take the VIF out of the domain's metadata, if it is there."""
    library = binding()
    gone = (
        library.VIR_ERR_NO_DOMAIN_METADATA,
        library.VIR_ERR_OPERATION_INVALID,
    )  # the latter: its guest has ended
    for one in (Scope.LIVE, Scope.CONFIG):
        if one in scope:
            try:
                _set(domain, vif_id, None, one)
            except LibvirtRefused as error:
                if error.context["libvirt_code"] not in gone:
                    raise


def _set(domain: Domain, vif_id: str, xml: str | None, scope: Scope) -> None:
    library = binding()
    with translated(f"write VIF {vif_id} into the domain's metadata"):
        domain.setMetadata(library.VIR_DOMAIN_METADATA_ELEMENT, xml, _PREFIX, NAMESPACE + vif_id, int(scope))
