"""``vifplug completion``."""

from __future__ import annotations

import click

from . import COMPLETE
from ._frame import root, verb
from ._output import say


@verb("completion", example="vifplug completion bash > /etc/bash_completion.d/vifplug")
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and the ids on record.
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    classes = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    say(classes[shell](root, {}, "vifplug", COMPLETE).source().rstrip("\n"))
