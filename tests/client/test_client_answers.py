"""The client's answers: the same names as the library's, for reading alone, without msgspec."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from model.binding_samples import DETAILS, bindings, port
from model.binding_samples import binding as sample
from vifplug.client import Answer, Client, answers
from vifplug.host import Host, results
from vifplug.model import as_binding, read_binding, vif
from vifplug.model.details import SHAPES

#: of the client alone
_DAEMONS_OWN = {"connect", "capabilities", "status", "health", "wait", "events"}
#: what the daemon does by itself, and asks nobody for
_HOSTS_OWN = {"backup"}
_HOSTS_OWN_RESULTS = {"Backup", "Rebuilt", "Restored", "Cleared"}


# --- the same as the library ---------------------------------------------------------------------


def _methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def test_the_methods_take_what_those_of_host_take() -> None:
    here, there = _methods(Client), _methods(Host)
    assert here.keys() - _DAEMONS_OWN <= there.keys(), "a method that Host has not"
    assert there.keys() - _HOSTS_OWN <= here.keys() - _DAEMONS_OWN, "a method of Host's that is missing"
    for name, signature in there.items():
        if name in _HOSTS_OWN:
            continue
        mine = [(each.name, each.kind, each.default) for each in here[name].parameters.values()]
        its = [
            (each.name, each.kind, each.default)
            for each in signature.parameters.values()
            if each.name not in ("owner", "traceparent")  # the daemon knows who asks, and in which trace
        ]
        assert mine == its, name


def _structs() -> list[tuple[type[Answer], type[msgspec.Struct]]]:
    found = []
    for name, kind in vars(answers).items():
        if isinstance(kind, type) and issubclass(kind, Answer) and kind is not Answer:
            struct = getattr(results, name, None) or getattr(vif, name, None)
            if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
                found.append((kind, struct))
    return found


@pytest.mark.parametrize(("kind", "struct"), _structs(), ids=lambda each: each.__name__)
def test_an_answer_has_the_fields_of_its_struct_and_what_json_leaves_out(
    kind: type[Answer], struct: type[msgspec.Struct]
) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    assert set(kind.__annotations__) == set(fields)
    omitted = {
        name: msgspec.to_builtins(
            field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        )
        for name, field in fields.items()
        if not field.required and struct.__struct_config__.omit_defaults
    }
    assert {name: kind._absent[name] for name in omitted} == omitted


def test_every_result_of_the_library_is_an_answer_of_the_client() -> None:
    public = {
        name
        for name, struct in vars(results).items()
        if isinstance(struct, type)
        and issubclass(struct, msgspec.Struct)
        and struct.__module__ == results.__name__
    }
    assert {name for name in public if not name.startswith("_")} - _HOSTS_OWN_RESULTS <= set(vars(answers))


@pytest.mark.parametrize("vif_type", DETAILS)
def test_each_shape_has_its_fields(vif_type: str) -> None:
    made = read_binding(sample(vif_type))
    answer = answers.Vif(msgspec.json.decode(msgspec.json.encode(made)))
    assert (answer.type, answer.made_here) == (made.type, made.made_here)
    shape = SHAPES[made.type]
    assert {"type", *shape.__struct_fields__} == set(answer.shape)
    for name in shape.__struct_fields__:
        assert msgspec.to_builtins(getattr(made.shape, name)) == getattr(answer.shape, name)


def _same(struct: Any, answer: Any) -> None:
    """Whatever one can say about the struct, one can say about the answer."""
    if isinstance(struct, msgspec.Struct):
        for name in struct.__struct_fields__:
            _same(getattr(struct, name), getattr(answer, name))
            _same(getattr(struct, name), answer[name])
    elif isinstance(struct, list):
        for mine, its in zip(struct, answer, strict=True):
            _same(mine, its)
    else:
        assert struct == answer


@settings(max_examples=50)
@given(bindings())
def test_a_vif_reads_like_the_librarys(binding: dict[str, Any]) -> None:
    made = read_binding(binding)
    _same(made, answers.Vif(msgspec.json.decode(msgspec.json.encode(made))))


# --- reading -------------------------------------------------------------------------------------


def test_an_answer_is_read_by_attribute_and_by_key() -> None:
    answer = answers.Plugged(
        {"id": "a", "xml": "<interface/>", "vif": {"mtu": 1450, "network": {"label": "n"}}}
    )
    assert answer.xml == answer["xml"] == "<interface/>"
    assert answer.vif.network.label == answer["vif"]["network"]["label"] == "n"
    assert answer.vif.mtu == 1450 and answer.vif.queues == 1 and answer.vif.alias is None
    assert dict(answer)["id"] == "a" and "xml" in answer and "nothing" not in answer
    assert answer == {**answer} and answer == copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer))  # noqa: S301
    assert "Plugged(" in repr(answer) and "<interface/>" in repr(answer)


def test_an_answer_cannot_be_changed() -> None:
    answer = answers.Unplugged({"id": "a", "notes": ["gone"]})
    with pytest.raises(AttributeError, match="for reading"):
        answer.id = "b"
    with pytest.raises(TypeError):
        answer["id"] = "b"
    answer.notes.append("more")
    assert answer.notes == ["gone"]


def test_a_name_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="Unplugged has no 'note'; it has .*notes"):
        answers.Unplugged({"id": "a", "notes": []}).note  # noqa: B018
    with pytest.raises(KeyError):
        answers.Unplugged({"id": "a"})["note"]


def test_what_a_newer_daemon_says_beside_is_there() -> None:
    assert answers.Unplugged({"id": "a", "news": {"kind": "x"}}).news.kind == "x"


# --- bindings ------------------------------------------------------------------------------------


@given(bindings())
def test_a_vif_goes_out_as_the_binding_that_makes_it(binding: dict[str, Any]) -> None:
    made = read_binding(binding)
    assert read_binding(as_binding(made)) == made


@pytest.mark.parametrize("vif_type", DETAILS)
def test_a_vif_of_neutrons_goes_out_as_the_binding_that_makes_it(vif_type: str) -> None:
    made = read_binding(port(vif_type))
    assert read_binding(as_binding(made)) == made


# --- the standard library is enough --------------------------------------------------------------


def test_the_client_imports_the_standard_library_alone_and_the_light_part_of_it() -> None:
    program = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] in ('msgspec', 'click', 'h11'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from vifplug.client import Client\n"
        "from vifplug.errors import DaemonUnreachable\n"
        "try: Client('/nowhere/at/all').plug({'id': 'x'})\n"
        "except DaemonUnreachable: print(*sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(ended.stdout.split())
    assert loaded
    outside = {
        name
        for name in loaded
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "vifplug", "__main__", "__mp_main__"}
        and "editable" not in name
        and not name.startswith("_")
    }
    assert outside <= {"sitecustomize", "distutils-precedence"}, outside
    assert (
        not {"http.client", "email", "ssl", "urllib.request", "sqlite3", "vifplug.model", "vifplug.host"}
        & loaded
    )
