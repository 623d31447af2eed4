"""The frame around the verbs: options that all of them take, late imports, errors, exit statuses."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any

import click

from ..errors import VifplugError
from . import _output
from ._session import Session

#: in the order of --help: the main path first. One file each, imported when it is called.
VERBS = (
    "plug",
    "unplug",
    "check",
    "repair",
    "update",
    "activate",
    "list",
    "show",
    "attach",
    "detach",
    "domain",
    "migrate",
    "events",
    "top",
    "xml",
    "recover",
    "gc",
    "probe",
    "trace",
    "graph",
    "doctor",
    "scripts",
    "conform",
    "config",
    "schema",
    "new-mechanism",
    "version",
    "completion",
)

EX_USAGE = 64
EX_SOFTWARE = 70
EX_OSERR = 71
EX_IOERR = 74
#: no file descriptor, process or memory to be had: nobody's bug
_HOST_IS_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP came: whoever expects the first meets them all."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


# --- options that every command takes, before or after the verb ----------------------------------


def _setter(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            setattr(ctx.ensure_object(Session), name, value)

    return store


def _common() -> list[click.Parameter]:
    def flag(*names: str, stores: str, hidden: bool = False, text: str) -> click.Option:
        return click.Option(
            names, is_flag=True, expose_value=False, hidden=hidden, callback=_setter(stores), help=text
        )

    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            callback=_setter("config_path"),
            help="Configuration, in place of VIFPLUG_CONFIG or /etc/vifplug/vifplug.toml.",
        ),
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            callback=_setter("socket"),
            help="Ask the vifplugd at this socket, in place of VIFPLUG_SOCKET or the configured one.",
        ),
        flag("--local", stores="local", text="Work in this process, though vifplugd may run."),
        flag("--json", stores="json", text="One JSON document on standard output."),
        flag("-v", "--verbose", stores="verbose", text="Tell each step as it happens."),
        flag("--debug", stores="debug", text="Show the traceback of a bug.", hidden=True),
    ]


def _show_help(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        _output.say(ctx.get_help())
        ctx.exit()


class _Helpful(click.Command):
    """Its --help meets a standard output that takes no more like every other answer."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


class Verb(_Helpful):
    """A command with the common options and one example."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common()
        self.epilog = f"\b\nExample:\n  {example}"


def verb(name: str, *, example: str, **settings: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function a verb; its docstring is the help."""
    return click.command(name, cls=Verb, example=example, **settings)


pass_session = click.make_pass_decorator(Session)


class Root(_Helpful, click.Group):
    """``vifplug`` itself. A verb's file is imported when the verb is called."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f".{cmd_name.replace('-', '_')}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(VERBS)}"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx=ctx)
        return super().resolve_command(ctx, args)


def _bare() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        _output.say(ctx.get_help())


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from .._version import __version__

        _output.say(f"vifplug {__version__}")
        ctx.exit()


root = Root(
    "vifplug",
    params=[
        *_common(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="The version.",
        ),
    ],
    no_args_is_help=False,
    invoke_without_command=True,
    callback=_bare,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Plug a guest's virtual interface into a network with a script the host trusts.",
    epilog="\b\nExample:\n  vifplug plug binding.json     connect a VIF; prints its guest XML\n"
    "  vifplug unplug 4c1b1b0a      undo it",
)


# --- from an ending to an exit status ------------------------------------------------------------


def run(args: list[str]) -> int:  # noqa: PLR0911, PLR0912  # one for each way to end
    """Carry out one command line; the exit status."""
    session = Session()
    try:
        try:
            with root.make_context("vifplug", args, obj=session) as ctx:
                root.invoke(ctx)
        finally:
            session.close()
        if sys.stdout is not None:  # the caller may have closed it
            sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except VifplugError as error:
        return _fail(session, args, error.as_dict(), error.message, error.exit_status)
    except click.ClickException as error:
        message = error.format_message()
        if isinstance(error, click.UsageError) and error.ctx is not None:
            message += f" (see {error.ctx.command_path} --help)"
        return _fail(session, args, {"code": "usage", "message": message}, message, EX_USAGE)
    except Stopped as stopped:
        return _interrupted(session, 128 + stopped.number)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(session, 128 + signal.SIGINT)
    except BrokenPipeError:
        return _reader_gone()
    except _output.OutputError as error:
        _output.complain(str(error))
        return EX_IOERR
    except OSError as error:
        if error.errno not in _HOST_IS_SHORT:
            return _bug(session, args, error)
        message = f"this host is short of what every program needs: {error.strerror}; look at 'ulimit -a' and 'free'"
        return _fail(session, args, {"code": "host_short", "message": message}, message, EX_OSERR)
    except Exception as error:  # a bug of ours: said in one line, like everything else
        return _bug(session, args, error)
    return session.exit_status


def _fail(session: Session, args: list[str], error: dict[str, Any], message: str, status: int) -> int:
    """The message for people on standard error; with --json the error on standard output too."""
    _output.complain(message)
    if session.json or "--json" in args:  # a usage error may come before the option was read
        try:
            _output.emit_error(error)
        except (OSError, _output.OutputError):
            return status  # it has been said on standard error
    return status


def _interrupted(session: Session, status: int) -> int:
    if session.through_daemon:
        said = "vifplugd goes on with what it had begun: see 'vifplug list', or 'vifplug show ID'"
    else:
        said = "what was not finished has been undone; what is plugged stays: see 'vifplug list'"
    _output.complain(f"interrupted; {said}")
    return status


def _reader_gone() -> int:
    """``vifplug list | head``: end as quietly as any other program that SIGPIPE ends."""
    _output.give_up(sys.stdout)
    return 128 + signal.SIGPIPE


def _bug(session: Session, args: list[str], error: Exception) -> int:
    import tempfile
    import traceback

    from .._version import __version__

    trace = "".join(traceback.format_exception(error))
    message = f"this is a bug in vifplug {__version__}, please report it: {type(error).__name__}: {error}"
    if session.debug:
        click.echo(trace, err=True)
    else:
        try:
            with tempfile.NamedTemporaryFile("w", prefix="vifplug-bug-", suffix=".txt", delete=False) as file:
                file.write(f"vifplug {__version__} {args}\n{trace}")
            message += f" (traceback in {file.name}; --debug shows it)"
        except OSError:  # no room for it
            message += " (--debug shows the traceback)"
    return _fail(session, args, {"code": "bug", "message": message}, message, EX_SOFTWARE)


def stop_politely() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP undo what is under way; a second one ends at once."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # under nohup SIGHUP stays ignored, behind a shell's & SIGINT
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, stop)
