"""The command line: one verb per file."""

from __future__ import annotations

#: the shell's completion function sets it; its value says which shell asks for what
COMPLETE = "_VIFPLUG_COMPLETE"


def main() -> int:
    """``vifplug``: carry out the command line of this process; the exit status."""
    import os
    import sys

    from ._frame import root, run, stop_politely

    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "vifplug", COMPLETE, instruction)
    stop_politely()
    return run(sys.argv[1:])
