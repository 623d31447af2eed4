"""Who may: real users, known by the kernel, and what each may do and see."""

from __future__ import annotations

import grp
import pwd
import subprocess
import threading
from typing import Any

import pytest

from daemons import NDJSON, PATIENCE, Answer, Told, as_user, ask, heard, listening, say, statuses, until
from vifplug.config import Daemon
from vifplug.daemon import peers
from vifplug.daemon.peers import Peer, Role, Roles
from watched import Watched
from world import TAP, binding

pytestmark = [pytest.mark.real_root, pytest.mark.slow]

READER, PLUGGER, OTHER, ADMIN, STRANGER = 64001, 64002, 64003, 64004, 64009
READERS, PLUGGERS = 64101, 64102
SECRET = "hunter2"  # noqa: S105


@pytest.fixture
def daemon_settings() -> Daemon:
    return Daemon(
        readers=[str(READER), f"@{READERS}", "nobody-has-this-name", "@nor-this-group"],
        pluggers=[str(PLUGGER), str(OTHER), f"@{PLUGGERS}"],
        admins=[str(ADMIN)],
    )


@pytest.fixture
def path(daemon: Watched) -> str:
    return daemon.config.socket_path


def by(
    uid: int, path: str, method: str, target: str, content: Any = None, *, headers: Any = None, **who: Any
) -> Answer:
    """What this user is answered."""
    found: Answer = as_user(uid, lambda: ask(path, method, target, content, headers), **who)
    return found


def secret(number: int = 0) -> dict[str, Any]:
    return binding(number, vif_details={"password": SECRET})


# --- who is let in -------------------------------------------------------------------------------


def test_a_stranger_is_turned_away_unread_and_told_what_to_do(path: str) -> None:
    answer = by(STRANGER, path, "GET", "/v1/health")
    assert (answer.status, answer.error["code"]) == (403, "not_allowed")
    assert "join the group vifplug" in answer.error["message"] and str(STRANGER) in answer.error["message"]
    assert statuses(as_user(STRANGER, lambda: say(path, b"", end=False))) == [403]  # not a byte was needed


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "plugs"),
    [
        (READER, None, [], 403),
        (PLUGGER, None, [], 200),
        (ADMIN, None, [], 200),
        (STRANGER, READERS, [], 403),
        (STRANGER, None, [1, READERS, 2], 403),
        (STRANGER, None, [1, READERS, 2, PLUGGERS], 200),
        (STRANGER, None, [*range(70000, 70200), PLUGGERS], 200),
        (0, None, [], 200),
    ],
)
def test_users_and_their_groups_have_roles(
    path: str, uid: int, gid: int | None, groups: list[int], plugs: int
) -> None:
    assert by(uid, path, "GET", "/v1/vifs", gid=gid, groups=groups).status == 200
    plugged = by(uid, path, "POST", "/v1/plug", binding(script=None), gid=gid, groups=groups)
    assert plugged.status == plugs
    if plugs == 403:
        assert "daemon.pluggers" in plugged.error["message"] and plugged.error["needed"] == "plugger"


@pytest.mark.parametrize("target", ["/v1/plug", "/v1/update", "/v1/rehearse", "/v1/plug-all", "/v1/unplug-all",
                                    "/v1/vifs/x/unplug", "/v1/vifs/x/check", "/v1/vifs/x/repair"])  # fmt: skip
def test_a_reader_changes_nothing(daemon: Watched, path: str, target: str) -> None:
    assert by(READER, path, "POST", target, b"[]").status == 403
    assert by(READER, path, "POST", target, b"[]", headers=NDJSON).status == 403


@pytest.mark.parametrize("target", ["/v1/vifs/x/forget", "/v1/gc", "/v1/recover"])
def test_a_plugger_does_not_clean_up(path: str, target: str) -> None:
    refused = by(PLUGGER, path, "POST", target)
    assert (refused.status, refused.error["needed"]) == (403, "admin")
    assert by(ADMIN, path, "POST", target).status in (200, 404)


def test_only_an_admin_unplugs_everything(daemon: Watched, path: str) -> None:
    by(PLUGGER, path, "POST", "/v1/plug", binding(script=None))
    assert by(PLUGGER, path, "POST", "/v1/unplug-all", {"all": True}).error["code"] == "not_allowed"
    assert len(daemon.service.host.list()) == 1
    assert [
        line["answer"]["changed"] for line in by(ADMIN, path, "POST", "/v1/unplug-all", {"all": True}).lines
    ] == [True]


def test_a_reader_may_not_even_send_much(path: str) -> None:
    assert by(READER, path, "POST", "/v1/plug-all", b" " * 70_000).status == 413


def test_nobody_may_name_what_the_host_does_not_trust(daemon: Watched, path: str) -> None:
    for script in ("/bin/sh", "../../bin/sh", "/tmp/neutron-x-vif-plug", "nothing-of-the-kind"):
        refused = by(ADMIN, path, "POST", "/v1/plug", binding(script=script))
        assert refused.status in (400, 403, 424), refused
        assert refused.error["code"] in ("script_not_trusted", "script_not_found", "invalid_input")
    assert daemon.service.host.list() == []


# --- what is whose -------------------------------------------------------------------------------


@pytest.fixture
def plugged(daemon: Watched, path: str) -> str:
    """A VIF of PLUGGER's, bound with a secret, whose script says it wherever it can."""
    daemon.world.info(verbs=["plug", "unplug", "check"])
    daemon.world.on("plug", do=f"echo '{SECRET}' >&2")
    answer = by(PLUGGER, path, "POST", "/v1/plug", secret())
    assert answer.status == 200 and SECRET in answer.body.decode()
    return str(answer.json["id"])


LOOKS = ["/v1/vifs", "/v1/vifs/{id}", "/v1/vifs/{id}/calls", "/v1/vifs/{id}/wait?state=plugged", "/v1/vifs/{id}/xml",
         "/v1/status", "/v1/host", "/v1/scripts", "/metrics"]  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_nobody_else_sees_what_a_vif_was_bound_with(path: str, plugged: str, look: str) -> None:
    target = look.format(id=plugged)
    for uid in (READER, OTHER):
        answer = by(uid, path, "GET", target)
        assert answer.status == 200 and SECRET not in answer.body.decode()


@pytest.mark.parametrize("look", LOOKS[:4])
def test_its_owner_and_admins_see_it(path: str, plugged: str, look: str) -> None:
    for uid in (PLUGGER, ADMIN, 0):
        assert SECRET in by(uid, path, "GET", look.format(id=plugged)).body.decode()


def test_it_stays_its_owners_whoever_plugs_it_again(daemon: Watched, path: str, plugged: str) -> None:
    assert by(OTHER, path, "POST", "/v1/plug?refresh=true", secret()).status == 200
    assert daemon.service.host.show(plugged).owner == PLUGGER
    assert SECRET not in by(OTHER, path, "GET", f"/v1/vifs/{plugged}").body.decode()


def test_calls_of_an_unplugged_vif_are_for_admins(path: str, plugged: str) -> None:
    assert by(PLUGGER, path, "POST", f"/v1/vifs/{plugged}/unplug").status == 200
    target = f"/v1/vifs/{plugged}/calls"
    for uid, seen in ((PLUGGER, False), (OTHER, False), (ADMIN, True)):
        answer = by(uid, path, "GET", target)
        assert answer.status == 200 and (SECRET in answer.body.decode()) is seen


@pytest.mark.parametrize("verb", ["unplug", "check", "repair"])
@pytest.mark.parametrize("steps", [False, True])
def test_what_a_script_says_as_it_fails_is_its_owners(
    daemon: Watched, path: str, plugged: str, verb: str, steps: bool
) -> None:
    for asked in ("plug", "unplug", "check"):
        daemon.world.on(asked, do=f"echo {SECRET} >&2; exit 3")
    if verb == "repair":
        subprocess.run(["ip", "link", "delete", TAP], check=True)
    for uid, seen in ((OTHER, False), (PLUGGER, True), (ADMIN, True)):
        headers = NDJSON if steps else None
        answer = by(uid, path, "POST", f"/v1/vifs/{plugged}/{verb}", headers=headers)
        text = answer.body.decode()
        assert (SECRET in text) is seen, (uid, text)
        assert verb == "check" or '"failed"' in text


def test_a_repair_shows_others_no_details(path: str, plugged: str) -> None:
    repaired = by(OTHER, path, "POST", f"/v1/vifs/{plugged}/repair")
    assert repaired.status == 200 and SECRET not in repaired.body.decode()
    assert SECRET in by(PLUGGER, path, "POST", f"/v1/vifs/{plugged}/repair").body.decode()


def test_unplugging_many_tells_others_no_words(daemon: Watched, path: str, plugged: str) -> None:
    daemon.world.on("unplug", do=f"echo {SECRET} >&2; exit 3")
    refused = by(OTHER, path, "POST", "/v1/unplug-all", {"ids": [plugged]})
    assert [line["error"]["code"] for line in refused.lines] == ["failed"]
    assert SECRET not in refused.body.decode()
    assert SECRET in by(PLUGGER, path, "POST", "/v1/unplug-all", {"ids": [plugged]}).body.decode()


def test_events_tell_readers_what_happened_and_admins_why(daemon: Watched, path: str) -> None:
    before = daemon.events.number
    daemon.world.on("plug", do=f"echo {SECRET} >&2; exit 3")
    by(PLUGGER, path, "POST", "/v1/plug", secret())
    daemon.events.publish(
        "drift", "x", drift=[{"what": "port", "expected": SECRET, "found": SECRET}], message=SECRET
    )
    daemon.events.publish("last", "x")

    for uid, whole in ((READER, False), (PLUGGER, False), (ADMIN, True)):
        text = as_user(uid, lambda: _told(path, before))
        assert (SECRET in text) is whole
        assert "plug-failed" in text and "'code': 'failed'" in text and "'what': 'port'" in text


def _told(path: str, after: int) -> str:
    with listening(path, after) as told:
        found: list[Told] = []
        while not found or found[-1].event != "last":
            found.append(heard(told, "plug-failed", "unplug-failed", "call", "drift", "last"))
        return str(found)


def test_a_group_that_comes_later_counts_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, int] = {}

    class Group:
        def __init__(self, name: str) -> None:
            self.gr_gid = known[name]

    monkeypatch.setattr(grp, "getgrnam", Group)
    monkeypatch.setattr(peers, "_FRESH", 0.0)
    roles = Roles(Daemon(readers=["@later"], pluggers=[]))
    caller = Peer(1, STRANGER, frozenset({4242}))
    assert roles.of(caller) is Role.NOBODY
    known["later"] = 4242
    until(lambda: roles.of(caller) is Role.READER)


def test_a_directory_service_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    roles = Roles(Daemon(readers=[str(READER), "somebody"], pluggers=[]))

    def hangs(name: str) -> None:
        answers.wait(PATIENCE)
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", hangs)
    monkeypatch.setattr(peers, "_FRESH", 0.0)
    before = threading.active_count()
    for _ in range(100):
        assert roles.of(Peer(1, READER, frozenset())) is Role.READER
        assert roles.of(Peer(1, STRANGER, frozenset())) is Role.NOBODY
    assert threading.active_count() == before + 1
    answers.set()


def test_root_may_do_everything_whatever_is_configured() -> None:
    roles = Roles(Daemon(readers=[], pluggers=[], admins=[]))
    assert roles.of(Peer(1, 0, frozenset())) is Role.ADMIN
    assert roles.of(Peer(1, STRANGER, frozenset({0}))) is Role.NOBODY
    everybody = Roles(Daemon(readers=["*"], pluggers=[]))
    assert everybody.of(Peer(1, STRANGER, frozenset())) is Role.READER


@pytest.mark.parametrize("route", ["plug", "update", "plug-all"])
def test_only_an_admin_hands_over_a_device_of_any_name(path: str, route: str) -> None:
    """It gets another address and MTU, and a script has it: a VPN's, say, or another guest's."""
    theirs = binding(devname="tun0", vif_details={"made_by": "caller"})
    answer = by(PLUGGER, path, "POST", f"/v1/{route}", [theirs] if route == "plug-all" else theirs)
    assert (answer.status, answer.error["code"]) == (403, "not_allowed")
    assert "only an admin may hand over device" in answer.error["message"]
    own = binding(vif_details={"made_by": "caller"})
    answer = by(PLUGGER, path, "POST", "/v1/plug", own)
    assert f"there is no device {TAP}" in answer.error["message"]
    assert "there is no device tun0" in by(ADMIN, path, "POST", "/v1/plug", theirs).error["message"]
