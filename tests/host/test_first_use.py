"""Many threads at once are the first to use it, in a process that has done nothing before."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A fresh interpreter imports the host alone, and forks processes in which eight threads begin together.
FIRST_USE = """
import collections, os, sys, threading
import msgspec
from vifplug.host import CallRecord, Host, results
from vifplug.model import read_binding
from vifplug.script.contract import Info, RequestHost, request_for
from vifplug.script.replies import parse_reply

sys.setswitchinterval(1e-6)
BINDING = {"id": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01", "vif_type": "ethernet", "address": "fa:16:3e:00:00:00"}

def first_use(barrier):
    barrier.wait()
    vif = read_binding(BINDING)
    request_for("plug", vif, generation=1, host=RequestHost.here(), deadline=1.0)
    parse_reply("check", b'{"ok": true, "drift": []}')
    msgspec.convert({"name": "x"}, Info | None)
    try:
        msgspec.json.decode(b"{}", type=CallRecord)
    except msgspec.ValidationError:
        pass

ends = collections.Counter()
for _ in range(150):
    pid = os.fork()
    if pid == 0:
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=first_use, args=(barrier,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    ends[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])] += 1
print(dict(ends))
"""


@pytest.mark.slow
def test_eight_threads_may_be_the_first_to_plug() -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("{0: 150}\n", "")
