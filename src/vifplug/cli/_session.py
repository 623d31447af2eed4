"""What one run of the command carries from its options to its verb."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

import click

from . import _output

if TYPE_CHECKING:
    from ..config.loader import Loaded
    from ..host import Host
    from ..host.results import Step


class Session:
    """The options that every command takes, and what follows from them; made when first asked for."""

    def __init__(self) -> None:
        self.json = False
        self.verbose = False
        self.debug = False
        #: the steps that ended, kept while somebody wants them all at the end (--trace)
        self.steps: list[Step] | None = None
        self.config_path: str | None = None
        #: what the process ends with when no error is raised
        self.exit_status = 0
        self._began = time.monotonic()

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration in force; raises ConfigError."""
        from ..config import load

        return load(self.config_path)

    @cached_property
    def host(self) -> Host:
        """The host with this configuration; steps are told on standard error when -v was given."""
        from ..host import Host

        return Host(
            self.loaded.config, on_step=self._tell if self.verbose or self.steps is not None else None
        )

    def close(self) -> None:
        if "host" in self.__dict__:
            self.host.close()

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
