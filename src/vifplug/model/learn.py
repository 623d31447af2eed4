"""Types that several threads convert to are learnt beforehand.

msgspec takes a struct apart when it first meets it, and runs Python code while it does so. A second
thread that comes meanwhile uses what is half done, and the process dies with SIGSEGV (seen with
msgspec 0.22 on CPython 3.11, in five of a hundred first plugs by eight threads).
"""

from __future__ import annotations

from typing import Any

import msgspec


def learn(*types: Any) -> None:
    """Let msgspec take these types apart now: call it at the end of the module that defines them, which one
    thread imports."""
    for one in types:
        msgspec.json.Decoder(one)
