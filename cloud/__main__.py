"""``./dev cloud``: a whole OpenStack on this machine, and the tests of vifplug in it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from guest_image import NoGuest

from . import cloud as clouds
from .place import CHECKOUT, Choices, CloudError, default_root, load


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev cloud", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring one up (about 40 s)")
    test = commands.add_parser("test", help="the tests, in the cloud that is up, or else in one of their own",
                               epilog="further arguments are pytest's")  # fmt: skip
    for each in (up, test):
        each.add_argument("--way", choices=("plugin", "agent"), help="who plugs: the os-vif plugin in nova-compute "
                          "(default), or vifplug's Neutron agent, with Nova as it is")  # fmt: skip
        each.add_argument("--debug", action="store_true", help="the services log all they can")
    commands.add_parser("down", help="end it, and remove all it has made")
    commands.add_parser("status", help="what runs, where its logs are")
    inside = commands.add_parser("run", help="a command inside: run controller|cmp1|cmp2 COMMAND …")
    inside.add_argument("host", choices=("controller", "cmp1", "cmp2"))
    inside.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND …")
    chosen, more = parser.parse_known_args(arguments)
    if more and chosen.command != "test":
        parser.error(f"unrecognized arguments: {shlex.join(more)}")
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    root = default_root()
    try:
        if chosen.command == "up":
            clouds.up(root, Choices(way=chosen.way or "plugin", debug=chosen.debug), say)
        elif chosen.command == "down":
            clouds.down(root)
        elif chosen.command == "status":
            _status(root)
            sys.stdout.flush()
        elif chosen.command == "run":
            _run(root, chosen.host, chosen.words)
        else:
            return _test(root, chosen.way, chosen.debug, more, say)
    except (CloudError, NoGuest) as error:
        print(f"cloud: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _test(root: Path, way: str | None, debug: bool, more: list[str], say: clouds.Say) -> int:
    place = load(root)
    if place is not None and way not in (None, place.choices.way):
        raise CloudError(
            f"the cloud that is up goes the way of the {place.choices.way}: ./dev cloud down first"
        )
    ours = place is None
    if place is None:
        place = clouds.up(root, Choices(way="agent" if way == "agent" else "plugin", debug=debug), say).place
    process = os.fork()
    if not process:  # in the controller's network, where the tests' requests and pings begin
        clouds.attach(root)
        os.chdir(CHECKOUT)
        tests = [] if any(Path(word.partition("::")[0]).exists() for word in more) else ["cloud/tests"]
        command = [sys.executable, "-m", "pytest", "-c", "cloud/pytest.ini", "--rootdir=.", "-o",
                   f"cache_dir=.cache/pytest-cloud-{place.choices.way}", *tests, *more]  # fmt: skip
        os.execv(sys.executable, command)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if ours:
        clouds.down(root, keep=bool(status))
        if status:
            say(f"the logs are in {root}/log")
    return status


def _status(root: Path) -> None:
    place = load(root)
    if place is None:
        raise CloudError(f"there is no cloud at {root}: ./dev cloud up brings one up")
    processes = clouds.Cloud(place).processes
    for name in processes.names():
        pid = processes.pid(name)
        print(f"{name:20} {pid or 'ENDED':>8}  {processes.log(name)}")


def _run(root: Path, host: str, words: list[str]) -> None:
    cloud = clouds.attach(root)
    words = words or [os.environ.get("SHELL", "/bin/sh")]
    if host != "controller":
        words = next(node for node in cloud.nodes if node.name == host).inside(*words)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where the command vifplug is
    os.execvp(words[0], words)


if __name__ == "__main__":
    sys.exit(main())
