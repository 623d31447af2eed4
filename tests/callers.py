"""Who calls scripts in tests: root, and people who are not."""

from __future__ import annotations

import ctypes
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trusted import TrustedDir
from vifplug.config import Config, ScriptSettings
from vifplug.model.vif import Ethernet, Vif
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Request, RequestHost, request_for
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Runner

VIF = Vif(
    id="4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
    shape=Ethernet(),
    address="fa:16:3e:00:00:01",
    devname="tap4c1b1b0a-7d",
    mtu=1450,
)
HOST = RequestHost(name="host1", boot_id="3c2f9a1e-0000-4000-8000-000000000001")

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4


def a_request(verb: str = "plug", vif: Vif = VIF, **more: Any) -> Request:
    return request_for(verb, vif, **{"generation": 1, "host": HOST, "deadline": 5.0, **more})


class Caller:
    """Writes a script into a trusted place and calls it."""

    def __init__(self, place: TrustedDir) -> None:
        self.place = place

    def config(self, settings: ScriptSettings | None = None, **more: Any) -> Config:
        return self.place.config(script={"s": settings} if settings else None, **more)

    def __call__(
        self,
        text: str,
        verb: str = "plug",
        *,
        seconds: float = 20.0,
        mark: Mark | None = None,
        settings: ScriptSettings | None = None,
        grace: float = 0.2,
        vif: Vif = VIF,
        **trust: Any,
    ) -> Call:
        self.place.write("s", text)
        config = self.config(settings, grace=grace, **trust)
        return Runner(config).call(
            Catalogue(config).find("s"), a_request(verb, vif), seconds=seconds, mark=mark or Mark.new()
        )


def as_user(work: Callable[[], Any], *, uid: int = 65534, namespaces: bool = False) -> Any:
    """What ``work`` returns in a process of user ``uid``, if wanted as root of its own namespaces.

    A fork without exec: an ordinary user may not be able to read this Python's files.
    """
    return in_child(lambda: _become(uid, namespaces=namespaces), work)


def in_child(*steps: Callable[[], Any]) -> Any:
    """What the last step returns in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for step in steps:
                answer = (True, step())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    good, answer = pickle.loads(data)  # noqa: S301 (from ourselves)
    assert good, answer
    return answer


def _become(uid: int, *, namespaces: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # A process that changed its user may not even write its own files in /proc, until it says so.
    assert libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
    if namespaces:
        assert libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {uid} 1")
