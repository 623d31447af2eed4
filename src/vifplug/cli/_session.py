"""What one run of the command carries from its options to its verb."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

import click

from . import _output

if TYPE_CHECKING:
    from ..config.loader import Loaded
    from ..host import Host
    from ..host.results import Step
    from ..remote import RemoteHost


class Session:
    """The options that every command takes, and what follows from them; made when first asked for."""

    def __init__(self) -> None:
        self.json = False
        self.verbose = False
        self.debug = False
        #: the steps that ended, kept while somebody wants them all at the end (--trace)
        self.steps: list[Step] | None = None
        self.config_path: str | None = None
        #: the daemon's socket that was asked for, or that nobody but the library may be asked
        self.socket: str | None = None
        self.local = False
        #: what the process ends with when no error is raised
        self.exit_status = 0
        self._began = time.monotonic()

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration in force; raises ConfigError."""
        from ..config import load

        return load(self.config_path)

    @cached_property
    def daemon(self) -> RemoteHost | None:
        """vifplugd, when it runs or was asked for by its socket; raises NotAllowed, DaemonUnreachable."""
        if self.local:
            if self.socket is not None:
                raise click.UsageError("--socket asks the daemon, --local asks nobody: give one of them")
            return None
        named = self.socket or os.environ.get("VIFPLUG_SOCKET") or None
        path = named or self.loaded.config.socket_path
        if not named and not _is_there(path):
            return None  # and nothing was imported for it
        from ..remote import RemoteHost

        return RemoteHost.at(path, on_step=self._listener, anyway=named is not None)

    @cached_property
    def host(self) -> Host:
        """The host, through vifplugd when it runs, else as the library with this configuration.

        Steps are told on standard error when -v was given.
        """
        if self.daemon is not None:
            return cast("Host", self.daemon)  # the same methods, parameters and results
        from ..host import Host

        return Host(self.loaded.config, on_step=self._listener)

    @property
    def through_daemon(self) -> bool:
        """Whether the daemon is asked, as far as that has come up."""
        return self.__dict__.get("daemon") is not None

    def close(self) -> None:
        for name in ("host", "daemon"):
            if (found := self.__dict__.get(name)) is not None:
                found.close()

    @property
    def _listener(self) -> Callable[[Step], None] | None:
        return self._tell if self.verbose or self.steps is not None else None

    def _tell(self, step: Step) -> None:
        if self.steps is not None and step.phase != "begin":
            self.steps.append(step)
        if not self.verbose:
            return
        since = (time.monotonic() - self._began) * 1000
        if step.phase == "begin":
            if step.name.startswith("script"):  # the only steps that can take long: say that we wait
                _output.say(f"{since:9.1f} ms  {step.vif_id[:8]}  {step.name} …", err=True)
            return
        text = f"{step.name:<14} {_output.duration(step.seconds):>10}  {_output.visible(step.text)}".rstrip()
        if step.phase == "failed":
            text = click.style(f"{text}  failed", fg="red")
        _output.say(f"{since:9.1f} ms  {step.vif_id[:8]}  {text}", err=True)


def _is_there(path: str) -> bool:
    """Whether something is at this path, or it cannot be known, which connecting to it will tell."""
    try:
        os.stat(path)  # noqa: PTH116  # pathlib tells an unreadable directory from none no better
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True
