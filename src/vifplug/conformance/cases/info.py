"""What a script says of itself."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...model import VifType
from ...script.contract import PROTOCOL, Info
from ..case import Broken, NotApplicable, case
from ..details import properties
from ..kit import Came, Kit

TOPIC = "info"
_FIELDS = (
    "mtu",
    "queues",
    "address",
    "devname",
    "bandwidth",
    "vnic_type",
    "profile",
    "network",
    "instance",
    "migration",
)


def _info(kit: Kit) -> Info:
    if kit.info is None:
        raise NotApplicable("it has no info, and is taken as a script with plug and unplug")
    return kit.info


def _asked(kit: Kit) -> Came:
    return kit.raw("info", None, request=_request(kit))


def _request(kit: Kit) -> bytes:
    empty = {"vif": None, "network": None, "instance": None, "verb": "info"}
    return msgspec.json.encode({**msgspec.to_builtins(kit.request("plug", kit.make())), **empty}) + b"\n"


@case(TOPIC, "info-answer", "info gives a good answer, or 64 from a script that does not have it",
      anchor="info", says="Any failure, an empty answer, or one that does not fit this table means: a script that has plug and unplug, and that is no error.")  # fmt: skip
def info_answer(kit: Kit) -> None:
    if kit.info is not None:
        return
    came = _asked(kit)
    if came.status != 64:
        raise Broken(
            "info was answered neither with a good reply nor with status 64: what it says of itself is lost",
            came,
        )


@case(TOPIC, "info-again", "info gives the same answer twice, and without a request",
      anchor="info", says="The host asks once for each content (digest) of the file")  # fmt: skip
def info_again(kit: Kit) -> None:
    _info(kit)
    first, second = kit.raw("info", None, request=_request(kit)), kit.raw("info", None, request=b"")
    if not second.done or first.reply != second.reply:
        raise Broken("info gave another answer the second time", second)


@case(TOPIC, "info-touches-nothing", "info changes nothing on the host",
      anchor="verbs", says="tells what the script is. It must not touch anything")  # fmt: skip
def info_touches_nothing(kit: Kit) -> None:
    with kit.plugged(), kit.unchanged("info changed the host"):
        _asked(kit)


@case(TOPIC, "info-protocol", "it speaks this version of the contract",
      anchor="info", says="versions of this contract that it speaks")  # fmt: skip
def info_protocol(kit: Kit) -> None:
    if PROTOCOL not in _info(kit).protocols:
        raise Broken(f"protocols is {kit.info and kit.info.protocols}: {PROTOCOL} is missing", _asked(kit))


@case(TOPIC, "info-needed-verbs", "plug and unplug are among its verbs",
      anchor="info", says="verbs that it has, beside info")  # fmt: skip
def info_needed_verbs(kit: Kit) -> None:
    if missing := {"plug", "unplug"} - set(_info(kit).verbs):
        raise Broken(f"verbs lacks {', '.join(sorted(missing))}, which every script has", _asked(kit))


@case(TOPIC, "info-verbs-are-there", "each verb that info names is there",
      anchor="info", says="verbs that it has, beside info")  # fmt: skip
def info_verbs_are_there(kit: Kit) -> None:
    _info(kit)
    for verb in kit.verbs():
        if verb not in ("plug", "unplug", "check", "update", "activate", "info"):
            raise Broken(
                f"verbs names {verb}, which version {PROTOCOL} of the contract does not know", _asked(kit)
            )
        with kit.plugged() as vif:
            came = kit.call(verb, vif) if verb != "info" else _asked(kit)
        if came.status == 64:
            raise Broken(f"verbs names {verb}, and {verb} ended with 64", came)


@case(TOPIC, "info-vif-types", "its VIF types are of the eight that there are",
      anchor="info", says="VIF types that it serves; a binding of another type is refused before it is called.")  # fmt: skip
def info_vif_types(kit: Kit) -> None:
    known = [type_.value for type_ in VifType]
    if unknown := [name for name in _info(kit).vif_types if name not in known]:
        raise Broken(f"vif_types has {', '.join(unknown)}; there are {', '.join(known)}", _asked(kit))
    if kit.info and kit.info.vif_types and kit.type not in kit.info.vif_types:
        raise Broken(f"vif_types has no {kit.type}, which is tested", _asked(kit))


def _schema(kit: Kit) -> dict[str, Any]:
    schema = _info(kit).details_schema
    if schema is None:
        raise NotApplicable("its info has no details_schema")
    return schema


def _jsonschema() -> Any:
    try:
        import jsonschema  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise NotApplicable(
            "the Python package jsonschema is not installed here: pip install jsonschema"
        ) from None
    return jsonschema


@case(TOPIC, "info-schema", "details_schema is a JSON Schema",
      anchor="info", says="a JSON Schema of the details that it reads")  # fmt: skip
def info_schema(kit: Kit) -> None:
    schema, jsonschema = _schema(kit), _jsonschema()
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise Broken(
            f"details_schema is no JSON Schema: {error.message} (at {error.json_path})", _asked(kit)
        ) from error
    if schema.get("type") != "object":
        raise Broken(
            f"details_schema describes {schema.get('type')!r}, and vif_details is an object", _asked(kit)
        )


@case(TOPIC, "info-schema-fits", "details_schema allows the details that are plugged, and details it does not know",
      anchor="info", says="a JSON Schema of the details that it reads")  # fmt: skip
def info_schema_fits(kit: Kit) -> None:
    schema, jsonschema = _schema(kit), _jsonschema()
    for details in (kit.make().details, kit.make(details={"vifplug_conform_unknown": 1}).details):
        try:
            jsonschema.Draft202012Validator(schema).validate(details)
        except jsonschema.ValidationError as error:
            raise Broken(
                f"details_schema forbids details that are plugged: {error.message}", _asked(kit)
            ) from error
        except jsonschema.SchemaError as error:
            raise NotApplicable("details_schema is no JSON Schema") from error


@case(TOPIC, "info-update-fields", "update_fields names what there is, and update is there for them",
      anchor="info", says="dotted names that update applies to a live VIF")  # fmt: skip
def info_update_fields(kit: Kit) -> None:
    info = _info(kit)
    if bool(info.update_fields) != ("update" in info.verbs):
        raise Broken(
            f"update_fields is {info.update_fields} and verbs is {info.verbs}: one without the other",
            _asked(kit),
        )
    for name in info.update_fields:
        head, _, rest = name.partition(".")
        if head == "details":
            known = properties(info.details_schema)
            if not rest or (known and rest.partition(".")[0] not in known):
                raise Broken(f"update_fields has {name}, and details_schema has no such detail", _asked(kit))
        elif head not in _FIELDS:
            raise Broken(f"update_fields has {name}, and a request has no such field", _asked(kit))


@case(TOPIC, "info-locks", "what stands in the braces of a lock's name is a detail",
      anchor="info", says="{key} in a name stands for that detail")  # fmt: skip
def info_locks(kit: Kit) -> None:
    known = properties(_info(kit).details_schema)
    keys = [key for name in (kit.info.locks if kit.info else []) for key in re.findall(r"\{([^}]+)\}", name)]
    if unknown := [key for key in keys if known and key not in known]:
        raise Broken(
            f"locks speaks of {', '.join(unknown)}, and details_schema has no such detail", _asked(kit)
        )
