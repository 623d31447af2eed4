"""vifplugd in Host's place: the client, with the library's own results."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

import msgspec

from .client import Client
from .client.answers import Answer
from .client.connecting import NobodyListens
from .errors import DaemonError, InvalidInput
from .host import results
from .host.results import Step
from .model.learn import learn


class RemoteHost(Client):
    """The host through its daemon: Host's methods, answering with the structs of vifplug.host.results."""

    @classmethod
    def at(cls, path: str, *, on_step: Callable[[Step], None] | None, anyway: bool) -> RemoteHost | None:
        """The daemon at this socket; without one None, or its error when it is wanted ``anyway``."""
        remote = cls(path, on_step=on_step, timeout=None)  # as long as the daemon works, as Host would too
        try:
            remote.connect()
        except (NobodyListens, InvalidInput):  # where no socket can be, no daemon is
            if anyway:
                raise
            return None
        return remote

    def _made(self, kind: type[Answer], found: Any) -> Any:
        struct = getattr(results, kind.__name__, kind)
        if not issubclass(struct, msgspec.Struct):
            return struct(found)  # of the daemon alone
        try:
            return msgspec.convert(found, struct)
        except msgspec.ValidationError:
            try:  # a newer daemon says more than this version knows
                return msgspec.convert(_known(found, struct), struct)
            except msgspec.ValidationError as error:
                raise DaemonError(
                    f"vifplugd at {self.socket} is of another version, and its answer cannot be read: {error}; compare"
                    " 'vifplug version', and restart the older one"
                ) from None


def _known(value: Any, kind: Any) -> Any:
    """The value without the keys that its struct, and those in it, do not have."""
    if isinstance(value, dict):
        structs = [
            each for each in _kinds(kind) if isinstance(each, type) and issubclass(each, msgspec.Struct)
        ]
        tagged = [each for each in structs if _tag(each) == value.get("type")]
        if not structs:
            return value
        struct = (tagged or structs)[0]
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag_field
        return {
            key: _known(item, fields[key]) if key in fields else item
            for key, item in value.items()
            if key in fields or key == tag
        }
    if isinstance(value, list):
        inner = next((get_args(each)[0] for each in _kinds(kind) if get_origin(each) is list), Any)
        return [_known(item, inner) for item in value]
    return value


def _tag(struct: type[msgspec.Struct]) -> Any:
    return struct.__struct_config__.tag


def _kinds(kind: Any) -> list[Any]:
    """The members of a union, without what Annotated says about them."""
    if hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    if get_origin(kind) in (Union, types.UnionType):
        return [found for member in get_args(kind) for found in _kinds(member)]
    return [kind]


# many threads may ask at once: see learn
learn(
    results.CallRecord, results.CheckReport, results.GcReport, results.Plugged, results.Record, results.Recovered,
    results.Rehearsal, results.ScriptEntry, results.Step, results.Unplugged, results.VifCount,
)  # fmt: skip
