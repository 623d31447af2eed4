"""``vifplug-neutron-agent``: start, and run until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import ConfigError, VifplugError

if TYPE_CHECKING:
    from .agent import Agent

_LOG = logging.getLogger(__name__)

_STOP = (signal.SIGTERM, signal.SIGINT)
#: seconds that stopping may take
_GOODBYE = 3.0


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Ends with a status of sysexits.h where the configuration is wrong."""
    # every thread that is started from here on leaves them to this one
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        agent = _configured(list(sys.argv[1:] if arguments is None else arguments))
    except VifplugError as error:
        sys.stderr.write(f"vifplug-neutron-agent: {error}\n")
        sys.exit(error.exit_status)
    # beside this thread: without a message bus it waits for one, and is to end all the same when it is told to
    threading.Thread(target=_start, args=[agent], name="vifplug-start", daemon=True).start()
    signal.sigwait(_STOP)
    _LOG.info("Stopping; what is plugged stays plugged")
    ending = threading.Thread(target=agent.stop, daemon=True)
    ending.start()
    ending.join(_GOODBYE)
    logging.shutdown()
    os._exit(0)  # not held up by threads that wait for a message bus that is away


def _start(agent: Agent) -> None:
    try:
        agent.start()
    except Exception:
        _LOG.exception("The agent cannot start")
        logging.shutdown()
        os._exit(70)  # EX_SOFTWARE: the service manager tries again


def _configured(arguments: list[str]) -> Agent:
    """Read the configuration files, set up logging and RPC, and make the agent of it. Raises ConfigError."""
    try:
        from neutron.common import config
        from oslo_config import cfg
        from oslo_messaging.exceptions import MessagingException
        from oslo_messaging.transport import DriverLoadFailure
    except ImportError as error:
        raise ConfigError(
            f"the host agent needs Neutron's Python modules ({error}): install it where Neutron is, or "
            "'pip install vifplug[agent]'"
        ) from None

    from . import options

    register = getattr(config, "register_common_config_options", None)  # since 2023.1; before, at import
    if register is not None:
        register()
    options.register(cfg.CONF)
    try:
        config.init(arguments, prog="vifplug-neutron-agent")
        config.setup_logging()
        _check()
        from .agent import Agent

        return Agent(cfg.CONF)
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigError(f"no such configuration file: {', '.join(error.config_files)}") from None
    except (cfg.Error, DriverLoadFailure, MessagingException, ValueError) as error:
        raise ConfigError(f"the configuration cannot be used: {error}") from None


def _check() -> None:
    """What is given, and cannot be meant."""
    from oslo_config import cfg

    from .options import GROUP

    if cfg.CONF.transport_url in (None, "", "rabbit://"):  # the last is its default, which no cloud has
        raise ConfigError(
            "transport_url is not set: give --config-file with the neutron.conf of this cloud, whose [DEFAULT] has it"
        )
    for name in cfg.CONF[GROUP].physical_networks or ():
        if not name.strip():
            raise ConfigError(f"[{GROUP}] physical_networks has an empty name")
