"""Why the kernel would not start a script, in words that its author can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping


def why_not_started(path: str, environment: Mapping[str, str], error: OSError) -> str:
    """What execve(2) meant by ``error`` for the script at ``path``."""
    interpreter = _interpreter(path)
    match error.errno:
        case errno.ENOEXEC:
            return f"{path} is neither a program nor a script with a #! line: let it begin with #!/bin/sh or the like"
        case errno.ENOENT if interpreter:
            hint = (
                " (the line ends with a carriage return: save it with Unix line ends)"
                if "\r" in interpreter
                else ""
            )
            return f"its interpreter {interpreter!r}, on the #! line of {path}, is not on this host{hint}"
        case errno.EACCES if interpreter and not os.access(interpreter, os.X_OK):
            return (
                f"its interpreter {interpreter!r}, on the #! line of {path}, may not be executed by this user"
            )
        case errno.EACCES:
            return f"{path} may not be executed by this user, or its file system is mounted noexec"
        case errno.E2BIG:
            size = sum(
                len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in environment.items()
            )
            longest = max(environment, key=lambda name: len(environment[name]))
            return (
                f"its environment is too large for the kernel: {size} bytes, the most of it in {longest}; scripts get "
                "vif_details there as well: make them smaller"
            )
        case _:
            return f"{path} could not be started: {error.strerror}"


def _interpreter(path: str) -> str:
    """What the #! line names, or nothing."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            line = file.readline(256)
    except OSError:
        return ""
    words = line[2:].strip(b" \t\n").replace(b"\t", b" ").split(b" ", 1) if line.startswith(b"#!") else [b""]
    return os.fsdecode(words[0])
