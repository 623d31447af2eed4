"""Every route does what it says, over the socket, on the real kernel; what is wrong is said under the right status."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from daemons import NDJSON, Answer, as_user, ask, dial, until
from vifplug.daemon import api
from watched import Watched
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

PLUGGING = "touch @b@/begun; while [ ! -e @b@/go ]; do sleep 0.01; done"


class Caller:
    """Asks the daemon of a world."""

    def __init__(self, daemon: Watched) -> None:
        self.daemon = daemon
        self.world: World = daemon.world
        self.path = daemon.config.socket_path

    def get(self, target: str, status: int = 200) -> Answer:
        return self._checked(ask(self.path, "GET", target), status)

    def post(self, target: str, content: Any = None, status: int = 200, **headers: str) -> Answer:
        return self._checked(ask(self.path, "POST", target, content, headers), status)

    def steps(self, target: str, content: Any = None) -> list[Any]:
        answer = ask(self.path, "POST", target, content, NDJSON)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        return answer.lines

    def meanwhile(self, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=self.post, args=args)
        thread.start()
        return thread

    @staticmethod
    def _checked(answer: Answer, status: int) -> Answer:
        assert answer.status == status, answer
        if status >= 400:
            assert answer.error["code"]
        return answer


@pytest.fixture
def vifplugd(daemon: Watched) -> Caller:
    return Caller(daemon)


def held(world: World, verb: str = "plug") -> None:
    """The script's verb waits until it is let go."""
    world.on(verb, do=PLUGGING.replace("@b@", str(world.backend)))


def let_go(world: World) -> None:
    (world.backend / "go").touch()


def begun(world: World) -> None:
    until((world.backend / "begun").exists)


# --- verbs ---------------------------------------------------------------------------------------


def test_plug_connects_the_vif_and_the_same_again_is_the_same(vifplugd: Caller) -> None:
    plugged = vifplugd.post("/v1/plug", binding()).json
    assert plugged["changed"] and plugged["vif"]["devname"] == TAP and "<interface" in plugged["xml"]
    assert TAP in links() and vifplugd.world.ports() == {ID}
    again = vifplugd.post("/v1/plug", binding()).json
    assert (
        not again["changed"]
        and again["xml"] == plugged["xml"]
        and again["generation"] == plugged["generation"]
    )
    assert vifplugd.world.asked() == ["plug"]
    assert vifplugd.post("/v1/plug?refresh=true", binding()).json["changed"]
    assert vifplugd.world.asked() == ["plug", "plug"]


def test_plug_takes_a_neutron_port(vifplugd: Caller) -> None:
    port = {"port": {"id": ID, "mac_address": "fa:16:3e:00:00:01", "binding:vif_type": "ethernet",
                     "binding:vif_details": {"vif_plug_script": "recorder"}}}  # fmt: skip
    assert vifplugd.post("/v1/plug", port).json["vif"]["devname"] == TAP


def test_seconds_are_the_scripts_deadline(vifplugd: Caller) -> None:
    vifplugd.world.on("plug", do="sleep 60")
    failed = vifplugd.post("/v1/plug?seconds=0.3", binding(), status=504)
    assert failed.error["code"] == "timed_out"
    assert links() == {} and vifplugd.get("/v1/vifs").json["vifs"] == []


def test_rehearse_does_nothing(vifplugd: Caller) -> None:
    rehearsal = vifplugd.post("/v1/rehearse", binding()).json
    assert [step["name"] for step in rehearsal["steps"]]
    assert links() == {} and vifplugd.world.asked() == []


def test_update_changes_a_plugged_vif(vifplugd: Caller) -> None:
    vifplugd.world.info(verbs=["plug", "unplug", "update"], update_fields=["mtu"])
    vifplugd.post("/v1/plug", binding(mtu=1500))
    assert vifplugd.post("/v1/update", binding(mtu=1400)).json["vif"]["mtu"] == 1400
    assert vifplugd.world.asked() == ["plug", "update"]
    refused = vifplugd.post("/v1/update", binding(mtu=1400, address="fa:16:3e:00:00:99"), status=409)
    assert (refused.error["code"], refused.error["fields"]) == ("update_refused", ["address"])
    assert vifplugd.post("/v1/update", binding(7), status=404).error["code"] == "not_plugged"


def test_unplug_undoes_it_and_again_is_fine(vifplugd: Caller) -> None:
    generation = vifplugd.post("/v1/plug", binding()).json["generation"]
    assert not vifplugd.post(f"/v1/vifs/{ID}/unplug?generation={generation + 1}").json["changed"]
    assert TAP in links()
    assert vifplugd.post(f"/v1/vifs/{ID}/unplug?generation={generation}").json["changed"]
    assert links() == {} and vifplugd.world.ports() == set()
    assert not vifplugd.post(f"/v1/vifs/{ID}/unplug").json["changed"]


def test_check_and_repair(vifplugd: Caller) -> None:
    vifplugd.post("/v1/plug", binding(mtu=1500))
    assert vifplugd.post(f"/v1/vifs/{ID}/check").json["ok"]
    subprocess.run(["ip", "link", "set", TAP, "mtu", "1300"], check=True)
    assert [drift["what"] for drift in vifplugd.post(f"/v1/vifs/{ID}/check").json["drift"]] == ["device mtu"]
    assert vifplugd.post(f"/v1/vifs/{ID}/repair").json["changed"]
    assert vifplugd.post(f"/v1/vifs/{ID}/check").json["ok"]
    assert links()[TAP].mtu == 1500
    for verb in ("check", "repair"):
        assert vifplugd.post(f"/v1/vifs/x/{verb}", status=404).error["code"] == "not_plugged"


def test_a_debt_is_shown_and_paid_or_forgotten(vifplugd: Caller) -> None:
    vifplugd.post("/v1/plug", binding())
    vifplugd.world.on("unplug", status=1)
    assert "the backend said no" in vifplugd.post(f"/v1/vifs/{ID}/unplug", status=502).error["message"]
    assert vifplugd.get("/v1/vifs?state=debt").json["vifs"][0]["error"]["code"] == "failed"
    assert vifplugd.get("/v1/status").json["debts"] == 1
    assert list(vifplugd.post("/v1/gc").json["owing"]) == [ID]
    vifplugd.world.on("unplug")
    assert vifplugd.post("/v1/gc").json["paid"] == [ID]
    assert vifplugd.post(f"/v1/vifs/{ID}/forget", status=404).error["code"] == "not_plugged"
    vifplugd.post("/v1/plug", binding())
    vifplugd.world.on("unplug", status=1)
    vifplugd.post(f"/v1/vifs/{ID}/unplug", status=502)
    assert vifplugd.post(f"/v1/vifs/{ID}/forget").json == {"forgotten": 1}
    assert vifplugd.get("/v1/vifs").json["vifs"] == []


def test_recover_finds_nothing_to_do_where_nobody_died(vifplugd: Caller) -> None:
    vifplugd.post("/v1/plug", binding())
    assert vifplugd.post("/v1/recover").json == {"recovered": []}


# --- line by line --------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["plug", "update", "repair", "unplug"])
def test_steps_are_told_and_then_the_answer(vifplugd: Caller, verb: str) -> None:
    if verb != "plug":
        vifplugd.post("/v1/plug", binding())
    subprocess.run(["ip", "link", "delete", TAP], check=False, capture_output=True)
    by_id = verb in ("repair", "unplug")
    *steps, last = vifplugd.steps(
        f"/v1/vifs/{ID}/{verb}" if by_id else f"/v1/{verb}", None if by_id else binding()
    )
    assert last["answer"]["id"] == ID
    if verb != "update":  # the same binding: nothing to do
        names = [(line["step"]["name"], line["step"]["phase"]) for line in steps]
        assert names[0] == ("intent", "begin") and names[-1] == ("outcome", "end")


def test_steps_of_a_failure_end_with_the_error(vifplugd: Caller) -> None:
    vifplugd.world.on("plug", status=65)
    *steps, last = vifplugd.steps("/v1/plug", binding())
    assert last["error"]["code"] == "bad_details"
    assert any(line["step"]["phase"] == "failed" for line in steps)
    assert any(line["step"]["name"].startswith("undo ") for line in steps)
    assert vifplugd.steps("/v1/plug", {"id": "x"})[-1]["error"]["code"] == "invalid_input"


def test_a_step_is_told_as_it_happens(vifplugd: Caller) -> None:
    held(vifplugd.world)
    body = json.dumps(binding()).encode()
    with dial(vifplugd.path) as sock:
        head = (
            b"POST /v1/plug HTTP/1.1\r\nHost: v\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        )
        sock.sendall(head % len(body) + body)
        told = b""
        while b'"script plug","phase":"begin"' not in told:
            told += sock.recv(65536)
        assert b'"answer"' not in told
        let_go(vifplugd.world)
        while b'"answer"' not in told:
            told += sock.recv(65536)


def test_plug_all_tells_each_as_it_is_done(vifplugd: Caller) -> None:
    vifplugd.world.on(
        "plug", do=f'if [ "$VIF_ID" = {ID} ]; then {PLUGGING.replace("@b@", str(vifplugd.world.backend))}; fi'
    )
    body = json.dumps([binding(), *(binding(number) for number in (1, 2))]).encode()
    with dial(vifplugd.path) as sock:
        sock.sendall(
            b"POST /v1/plug-all HTTP/1.1\r\nHost: v\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        told = b""
        while told.count(b'"answer"') < 2:
            told += sock.recv(65536)
        assert b'"index":0' not in told
        let_go(vifplugd.world)
        while b'"index":0' not in told:
            told += sock.recv(65536)
    until(lambda: len(vifplugd.world.ports()) == 3)


@pytest.mark.parametrize("form", ["list", "ports", "lines"])
def test_many_are_plugged_and_unplugged(vifplugd: Caller, form: str) -> None:
    bindings = [
        binding(number, script=script)
        for number, script in ((1, "recorder"), (2, None), (3, "no-such"), (4, None))
    ]
    content: Any = {"list": bindings, "ports": {"ports": bindings}}.get(form)
    if form == "lines":
        content = b"\n".join(json.dumps(one).encode() for one in bindings)
    lines = {line["index"]: line for line in vifplugd.post("/v1/plug-all", content).lines}
    assert sorted(lines) == [0, 1, 2, 3]
    assert lines[2]["error"]["code"] == "script_not_found"
    assert {lines[index]["answer"]["id"] for index in (0, 1, 3)} == {
        bindings[index]["id"] for index in (0, 1, 3)
    }
    assert len(links()) == 3
    ids = [one["id"] for one in bindings]
    unplugged = {
        line["index"]: line for line in vifplugd.post("/v1/unplug-all", {"ids": [*ids, ids[0]]}).lines
    }
    assert [unplugged[index]["answer"]["changed"] for index in range(4)] == [True, True, False, True]
    assert [unplugged[index]["id"] for index in range(4)] == ids
    assert links() == {} and vifplugd.world.ports() == set()


def test_unplug_all_unplugs_what_is_on_record(vifplugd: Caller) -> None:
    vifplugd.post("/v1/plug-all", [binding(1), binding(2, script=None), binding(3)])
    vifplugd.world.on("unplug", do="case $VIF_ID in 00000003*) echo no >&2; exit 1;; esac")
    lines = vifplugd.post("/v1/unplug-all", {"all": True}).lines
    assert sorted("error" in line for line in lines) == [False, False, True]
    assert [record["state"] for record in vifplugd.get("/v1/vifs").json["vifs"]] == ["debt"]


def test_one_wrong_binding_among_many_begins_none(vifplugd: Caller) -> None:
    refused = vifplugd.post("/v1/plug-all", [binding(1), {"id": "x"}], status=400)
    assert refused.error["field"].startswith("[1]")
    assert links() == {}


def test_none_of_many_is_an_empty_answer(vifplugd: Caller) -> None:
    assert vifplugd.post("/v1/plug-all", []).lines == []
    assert vifplugd.post("/v1/unplug-all", {"ids": []}).lines == []


UNCLEAR = [b"", b"[]", b"{}", b'{"ids": ["x"], "all": true}', b'{"all": false}', b'{"ids": [1]}', b'{"ids": "x"}',
           b'{"id": []}', b"\xff\xfe", b"nonsense"]  # fmt: skip


def test_what_to_unplug_must_be_clear(vifplugd: Caller) -> None:
    for content in UNCLEAR:
        assert vifplugd.post("/v1/unplug-all", content, status=400).error["code"] == "invalid_input", content


# --- look ----------------------------------------------------------------------------------------


def test_vifs_come_page_by_page(vifplugd: Caller) -> None:
    vifplugd.post("/v1/plug-all", [binding(number, script=None) for number in range(1, 8)])
    seen, target = [], "/v1/vifs?limit=3"
    while True:
        page = vifplugd.get(target).json
        seen.append([record["id"] for record in page["vifs"]])
        if page["next"] is None:
            break
        target = f"/v1/vifs?limit=3&after={page['next']}"
    assert [len(page) for page in seen] == [3, 3, 1]
    assert len({vif_id for page in seen for vif_id in page}) == 7
    assert vifplugd.get("/v1/vifs?state=plugged&limit=7").json["vifs"][-1]["id"] == seen[-1][-1]
    assert vifplugd.get("/v1/vifs?state=debt").json == {"vifs": [], "next": None}


def test_a_vif_its_xml_and_its_calls(vifplugd: Caller) -> None:
    plugged = vifplugd.post("/v1/plug", binding()).json
    record = vifplugd.get(f"/v1/vifs/{ID}").json
    assert (record["state"], record["device"], record["owner"]) == ("plugged", TAP, 0)
    xml = vifplugd.get(f"/v1/vifs/{ID}/xml")
    assert xml.headers["content-type"] == "application/xml" and xml.body.decode() == plugged["xml"]
    assert [call["verb"] for call in vifplugd.get(f"/v1/vifs/{ID}/calls").json["calls"]] == ["plug"]
    vifplugd.post(f"/v1/vifs/{ID}/unplug")
    assert [call["verb"] for call in vifplugd.get(f"/v1/vifs/{ID}/calls").json["calls"]] == ["plug", "unplug"]
    for what in ("", "/xml"):
        assert vifplugd.get(f"/v1/vifs/{ID}{what}", 404).error["code"] == "not_plugged"
    assert vifplugd.get("/v1/vifs/x/calls", 404).error["vif_id"] == "x"


def test_an_id_in_the_path_may_be_anything(vifplugd: Caller) -> None:
    for text, plain in (
        ("a%2Fb", "a/b"),
        ("%00", "\0"),
        ("%C3%BC", "ü"),
        ("%FF", "\ufffd"),
        ("a+b", "a+b"),
        ("%F0%9F%98%80", "😀"),
    ):
        assert vifplugd.get(f"/v1/vifs/{text}", 404).error["vif_id"] == plain
        assert not vifplugd.post(f"/v1/vifs/{text}/unplug").json["changed"]


def test_the_host_says_what_it_can_do(vifplugd: Caller) -> None:
    vifplugd.world.info(version="1.2", verbs=["plug", "unplug"])
    vifplugd.world.script("writable", "#!/bin/sh\n").chmod(0o777)
    host = vifplugd.get("/v1/host").json
    assert host["protocols"] == [1] and "ethernet" in host["vif_types"] and len(host["vif_types"]) == 8
    scripts = {script["name"]: script for script in host["scripts"]}
    assert scripts["recorder"]["trusted"] and scripts["recorder"]["info"]["version"] == "1.2"
    assert scripts["recorder"]["digest"].startswith("sha256:")
    assert not scripts["writable"]["trusted"] and scripts["writable"]["reason"]
    assert vifplugd.get("/v1/scripts").json["scripts"] == host["scripts"]


def test_health_status_and_metrics(vifplugd: Caller) -> None:
    held(vifplugd.world)
    plugging = vifplugd.meanwhile("/v1/plug", binding())
    begun(vifplugd.world)
    assert vifplugd.get("/v1/health").json["status"] == "ok"
    status = vifplugd.get("/v1/status").json
    assert [(one["verb"], one["vif_id"]) for one in status["running"]] == [("plug", ID)]
    assert status["queue"]["at_work"] == 1 and status["connections"] >= 1
    let_go(vifplugd.world)
    plugging.join()
    metrics = vifplugd.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "vifplug" in metrics.body.decode()


# --- wait ----------------------------------------------------------------------------------------


def test_wait_for_what_is_there_already(vifplugd: Caller) -> None:
    assert vifplugd.get(f"/v1/vifs/{ID}/wait").json == {"id": ID, "state": "unplugged", "vif": None}
    assert vifplugd.get(f"/v1/vifs/{ID}/wait?state=unplugged&seconds=0").json["state"] == "unplugged"
    vifplugd.post("/v1/plug", binding())
    for state in ("plugged", "settled"):
        assert vifplugd.get(f"/v1/vifs/{ID}/wait?state={state}").json["vif"]["device"] == TAP


def test_wait_for_what_comes(vifplugd: Caller) -> None:
    held(vifplugd.world)
    plugging = vifplugd.meanwhile("/v1/plug", binding())
    begun(vifplugd.world)
    answers: list[Answer] = []
    waiting = [
        threading.Thread(target=lambda target=target: answers.append(vifplugd.get(target)))
        for target in (f"/v1/vifs/{ID}/wait?state=plugged", f"/v1/vifs/{ID}/wait?state=settled")
    ]
    for thread in waiting:
        thread.start()
    until(lambda: vifplugd.daemon.service.connections() == 3)
    let_go(vifplugd.world)
    for thread in (plugging, *waiting):
        thread.join()
    assert [answer.json["state"] for answer in answers] == ["plugged", "plugged"]


def test_wait_for_what_another_process_does_through_the_library(vifplugd: Caller) -> None:
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(vifplugd.get(f"/v1/vifs/{ID}/wait?state=plugged"))
    )
    waiting.start()
    until(lambda: vifplugd.daemon.service.connections() == 1)

    def plug() -> None:
        with vifplugd.world.host() as host:
            host.plug(binding())

    as_user(0, plug)
    waiting.join()
    assert answers[0].json["vif"]["id"] == ID


def test_wait_that_is_over_says_what_is(vifplugd: Caller) -> None:
    late = vifplugd.get(f"/v1/vifs/{ID}/wait?state=plugged&seconds=0.1", 504)
    assert (late.error["code"], late.error["state"], late.error["vif_id"]) == ("timed_out", "unplugged", ID)
    vifplugd.post("/v1/plug", binding())
    vifplugd.world.on("unplug", status=1)
    vifplugd.post(f"/v1/vifs/{ID}/unplug", status=502)
    assert vifplugd.get(f"/v1/vifs/{ID}/wait").json["state"] == "debt"
    assert vifplugd.get(f"/v1/vifs/{ID}/wait?state=unplugged&seconds=0", 504).error["state"] == "debt"


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/v1/plug", "POST"),
        ("DELETE", f"/v1/vifs/{ID}", "GET, HEAD"),
        ("PUT", "/v1/vifs", "GET, HEAD"),
        ("OPTIONS", "/v1/health", "GET, HEAD"),
        ("POST", "/v1/events", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_it_takes(
    vifplugd: Caller, method: str, target: str, allow: str
) -> None:
    answer = ask(vifplugd.path, method, target)
    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (
        405,
        "method_not_allowed",
        allow,
    )


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v2/vifs", "/v1/vif", "/v1/vifs/x/y", "/V1/vifs", "/v1/vifs/x/unplug/"]
)
def test_no_such_route_says_where_they_are_listed(vifplugd: Caller, target: str) -> None:
    for answer in (vifplugd.get(target, 404), vifplugd.post(target, status=404)):
        assert answer.error["code"] == "no_such_route" and "/v1/openapi.json" in answer.error["message"]


WRONG_QUERIES = [
    ("POST", "/v1/plug?seconds=0", "seconds"),
    ("POST", "/v1/plug?seconds=-1", "seconds"),
    ("POST", "/v1/plug?seconds=nan", "seconds"),
    ("POST", "/v1/plug?seconds=inf", "seconds"),
    ("POST", "/v1/plug?seconds=1e9", "seconds"),
    ("POST", "/v1/plug?seconds=", "seconds"),
    ("POST", "/v1/plug?refresh=maybe", "refresh"),
    ("POST", "/v1/plug?seconds=1&seconds=2", "seconds"),
    ("POST", "/v1/plug?second=1", "second"),
    ("POST", "/v1/gc?x", "x"),
    ("POST", f"/v1/vifs/{ID}/unplug?generation=-1", "generation"),
    ("POST", f"/v1/vifs/{ID}/unplug?generation=9223372036854775808", "generation"),
    ("POST", f"/v1/vifs/{ID}/unplug?generation=one", "generation"),
    ("GET", "/v1/vifs?state=broken", "state"),
    ("GET", "/v1/vifs?limit=0", "limit"),
    ("GET", "/v1/vifs?limit=10001", "limit"),
    ("GET", "/v1/vifs?after=", "after"),
    ("GET", f"/v1/vifs/{ID}/wait?state=plugging", "state"),
    ("GET", f"/v1/vifs/{ID}/wait?seconds=nan", "seconds"),
    ("GET", f"/v1/vifs/{ID}/wait?seconds=3601", "seconds"),
    ("GET", "/v1/events?after=x", "after"),
    ("GET", "/v1/health?%00=%ff", "\0"),
]


def test_a_wrong_query_names_what_is_wrong(vifplugd: Caller) -> None:
    for method, target, field in WRONG_QUERIES:
        answer = ask(vifplugd.path, method, target, binding() if method == "POST" else None)
        assert (answer.status, answer.error["code"]) == (400, "invalid_input"), target
        assert answer.error["field"] == field
    assert links() == {}


WRONG_BODIES = [
    b"", b"nonsense", b"\xff\xfe", b'"text"', b"7", b"[[", b'{"id": "x"}', b'{"id": NaN}', b"{" * 5000, b"null",
    b'{"id": "\\ud800", "vif_type": "ethernet"}', b'{"id": "a", "id": "b"}', b"\xef\xbb\xbf{}", b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("target", ["/v1/plug", "/v1/update", "/v1/rehearse", "/v1/plug-all"])
def test_a_wrong_body_says_where(vifplugd: Caller, target: str) -> None:
    for content in WRONG_BODIES:
        refused = vifplugd.post(target, content, status=400)
        assert refused.error["code"] in ("invalid_input", "unsupported_vif_type"), content
    assert vifplugd.get("/v1/vifs").json["vifs"] == []


@pytest.mark.parametrize(
    ("status", "code", "under"),
    [
        (65, "bad_details", 400),
        (69, "backend_unavailable", 502),
        (64, "verb_not_supported", 400),
        (1, "failed", 502),
    ],
)
def test_what_a_script_refuses_has_its_status(vifplugd: Caller, status: int, code: str, under: int) -> None:
    vifplugd.world.on("plug", status=status)
    failed = vifplugd.post("/v1/plug", binding(), status=under)
    assert failed.error["code"] == code
    assert status == 64 or "the backend said no" in failed.error["message"]
    assert links() == {}


@pytest.mark.parametrize("seconds", ["3", "1e308"])
def test_retry_after_of_a_script_reaches_the_header(vifplugd: Caller, seconds: str) -> None:
    said = json.dumps({"error": {"code": "retry_later", "message": "m", "retry_after": float(seconds)}})
    vifplugd.world.on("plug", do=f"echo '{said}'; exit 75")
    failed = vifplugd.post("/v1/plug?seconds=2", binding(), status=503)
    assert failed.error["code"] == "retry_later"
    assert int(failed.headers["retry-after"]) == min(float(seconds), 3600)


def test_a_device_of_somebody_elses_is_a_conflict(vifplugd: Caller) -> None:
    subprocess.run(["ip", "tuntap", "add", TAP, "mode", "tap"], check=True)
    assert vifplugd.post("/v1/plug", binding(), status=409).error["code"] == "device_taken"


def test_a_bug_is_admitted_and_its_traceback_stays_here(
    vifplugd: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(vifplugd.daemon.service.host, "gc", broken)
    monkeypatch.setattr(vifplugd.daemon.service.host, "plug", broken)
    answer = vifplugd.post("/v1/gc", status=500)
    assert answer.error["code"] == "bug" and "secret" not in answer.body.decode()
    assert vifplugd.steps("/v1/plug", binding())[-1]["error"]["code"] == "bug"
    assert vifplugd.post("/v1/plug-all", [binding(1), binding(2)]).lines[-1]["error"]["code"] == "bug"
    assert "ZeroDivisionError" in caplog.text


def test_garbage_in_trace_headers_harms_nothing(vifplugd: Caller) -> None:
    for trace in ("", "00-0-0-00", "ff" * 300, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff\xfe"):
        assert vifplugd.post("/v1/gc", traceparent=trace).status == 200


def test_every_route_is_tested_here(vifplugd: Caller) -> None:
    said = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for route in api.ROUTES:
        assert route.path.rpartition("}")[2] in said
