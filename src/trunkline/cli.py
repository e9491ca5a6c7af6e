"""The command line: serve · run · dev · publish · tail · token · epoch new; and what operators do (cli_admin.py)."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Container
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline import cli_admin, cli_log
from trunkline.cli_admin import DEFAULT_URL, Url
from trunkline.config import OF_RUN, TOKEN_VARIABLE, WORKER_VARIABLE, check_for_run, environment, flags, load
from trunkline.core.grant import Permissions
from trunkline.core.trace import parse_trace
from trunkline.errors import ConfigError, TrunklineError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Real-time rooms that lose nothing.",
)

KEY_VARIABLES = "TRUNKLINE_JWT__"  # of the issuer


def _warn(text: str) -> None:
    typer.echo(text, err=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trunkline {version('trunkline')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Real-time rooms that lose nothing."""


def serve(config: Path | None, **given: Any) -> None:
    """Serve rooms, and the chat and the transport lab as pages."""
    from trunkline.server.log import set_up_log  # noqa: PLC0415
    from trunkline.server.server import RoomsServer, build_hub  # noqa: PLC0415 - the other commands need no server
    from trunkline.server.server import serve as run  # noqa: PLC0415
    from trunkline.server.workers import command, supervise, work  # noqa: PLC0415

    settings = load(config, environment(), given)
    set_up_log(settings.log_format, settings.log_level)
    if WORKER_VARIABLE in os.environ:
        work(partial(RoomsServer, settings, build_hub(settings)), os.environ[WORKER_VARIABLE])
    elif settings.workers > 1:
        raise typer.Exit(supervise(settings, command(), _announce_all))
    else:
        run(settings, _announce)


def run(
    application: str, config: Path | None, *, reload: bool, direct: str | None, keep_streams: bool, **given: Any
) -> None:
    """Run an ASGI application of yours, with its rooms as fast as on a server of their own.

    Requests go through the application, as on every ASGI server; streams of rooms then leave it, and go on straight on
    their sockets. Requests for rooms that nothing of the application stands around do not go through it at all.
    """
    from trunkline.server.app_server import (  # noqa: PLC0415 - as above
        AppServer,
        load_app,
        serve_app,
        serve_app_reloading,
    )
    from trunkline.server.log import OUR_LOGGERS, set_up_log  # noqa: PLC0415
    from trunkline.server.workers import command, supervise, work  # noqa: PLC0415

    given["allow_anonymous"] = True  # whether clients are asked who they are is the hub's to say
    # The keys are the application's, which may well have them from there.
    variables = {name: value for name, value in environment().items() if not name.startswith(KEY_VARIABLES)}
    load_config = partial(load, config, variables, given)
    settings = load_config()
    check_for_run(settings)
    announce = partial(_announce_app, application)
    if not reload:  # whose processes set up their own
        set_up_log(settings.log_format, settings.log_level, OUR_LOGGERS)
    if WORKER_VARIABLE in os.environ:
        make = partial(AppServer, settings, load_app(application), direct=direct, keep_streams=keep_streams)
        work(make, os.environ[WORKER_VARIABLE])
    elif direct is not None and keep_streams:
        raise ConfigError("--direct and --keep-streams contradict each other")
    elif reload and settings.workers > 1:
        raise ConfigError("--reload is for one process: leave --workers out")
    elif reload:
        serve_app_reloading(load_config, application, announce, direct=direct, keep_streams=keep_streams)
    elif settings.workers > 1:
        raise typer.Exit(supervise(settings, command(), partial(_announce_app_workers, application)))
    else:
        serve_app(settings, application, announce, direct=direct, keep_streams=keep_streams)


def _announce(url: str, data: str) -> None:
    _say(f"Trunkline on {url}, data in {data}")


def _say(text: str) -> None:
    """Say that the server serves, and what makes it slow."""
    from trunkline.server.interpreter import UNOPTIMISED, is_optimised  # noqa: PLC0415

    typer.echo(text)
    if not is_optimised():
        typer.echo(UNOPTIMISED)


def _announce_app(application: str, url: str, special: str) -> None:
    _say(f"{application} on {url}" + (f"; {special}" if special else ""))


def _announce_app_workers(application: str, url: str, special: str, workers: int) -> None:
    _announce_app(application, url, "; ".join(filter(None, [f"{workers} workers", special])))


def _add_options(command: Callable[..., None], names: Container[str] | None, more: list[inspect.Parameter]) -> None:
    """Make the options of a command from the settings: one place says what there is, and what it means.

    Args:
        names: Of the settings; None for all of them.
        more: Parameters that are no settings.
    """
    parameters = [*more]
    for flag in flags():
        if names is not None and flag.name not in names:
            continue
        name = f"--{flag.name.replace('_', '-')}"
        shown = f"{flag.help} (default: {flag.default})" if flag.default else flag.help
        kind: Any = flag.kind | None
        option = Annotated[kind, typer.Option(name, help=shown, show_default=False)]
        parameters.append(inspect.Parameter(flag.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option))
    file = Annotated[Path | None, typer.Option(help="a TOML file with any of the settings", show_default=False)]
    parameters.append(inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=file))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command()(command)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_add_options(serve, None, [])
_add_options(
    run,
    OF_RUN - {"allow_anonymous"},
    [
        inspect.Parameter(
            "application",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=Annotated[str, typer.Argument(metavar="MODULE:APP", help="Your ASGI application.")],
        ),
        _option(
            "reload", Annotated[bool, typer.Option("--reload", help="Start again when a file has changed.")], False
        ),
        _option(
            "direct",
            Annotated[str | None, typer.Option(help="Path of rooms whose requests skip the application altogether.")],
            None,
        ),
        _option(
            "keep_streams",
            Annotated[
                bool,
                typer.Option("--keep-streams", help="Leave streams with the application, which sees what they carry."),
            ],
            False,
        ),
    ],
)


@app.command()
def dev(
    application: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="An ASGI application of yours; by default rooms alone.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8000,
    faults: Annotated[bool, typer.Option("--faults", help="Cut, delay and restart by commands that you type.")] = False,
) -> None:
    """Serve on this machine, to develop against. With --faults, try what networks do.

    Rooms alone have a log that is removed at the end; an application of yours has the log that it always has.
    """
    from trunkline.testing.dev import run  # noqa: PLC0415

    if faults and sys.stdin is None:
        raise ConfigError("--faults takes commands from standard input, which is closed")
    run(application, port, sys.stdin if faults else None, typer.echo)


def _announce_all(url: str, data: str, workers: int) -> None:
    _say(f"Trunkline on {url}, {workers} workers, data in {data}")


@app.command()
def publish(
    room: str,
    data: Annotated[str, typer.Argument(help="JSON; anything else is sent as a text.")],
    id: Annotated[str | None, typer.Option(help="Idempotency key: stored once under this id.")] = None,  # noqa: A002
    check: Annotated[bool, typer.Option(help="Have the application look at it first, as at any client's.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Publish one message and print its position once it is stored.

    With an administrator's token the application does not look at it (before_publish), unless --check says so.

    The token is read from TRUNKLINE_TOKEN; the trace that the message is part of from TRACEPARENT and TRACESTATE.
    """
    from trunkline.remote import publish as send  # noqa: PLC0415

    if data.lstrip()[:1] in ("{", "[") and not _is_json(data):
        _warn("trunkline: the data is not JSON; it is sent as text")
    trace = parse_trace(os.environ.get("TRACEPARENT"), os.environ.get("TRACESTATE"))
    receipt = send(url, room, data, id, os.environ.get(TOKEN_VARIABLE), trace, check=check)
    repeated = " (it was there already)" if receipt["duplicate"] else ""
    typer.echo(f"{receipt['room']} {receipt['epoch']}.{receipt['offset']}{repeated}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@app.command()
def secret() -> None:
    """Make the secret of a webhook, by which its receiver knows that it is from here."""
    from trunkline.core.webhook import new_secret  # noqa: PLC0415

    typer.echo(new_secret(os.urandom(32)))


@app.command()
def tail(
    room: str,
    since: Annotated[str | None, typer.Option(help="start, now, an offset or a position; by default now.")] = None,
    last: Annotated[int | None, typer.Option(help="Begin with this many of the newest.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many messages.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Print each message of a room, and each redaction, as a line of JSON, until Ctrl-C.

    The token is read from TRUNKLINE_TOKEN.
    """
    from trunkline.remote import follow  # noqa: PLC0415

    token = os.environ.get(TOKEN_VARIABLE)
    for line in follow(url, room, since=since, last=last, count=count, warn=_warn, token=token):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@app.command()
def token(
    user: str,
    read: Annotated[
        list[str] | None, typer.Option(help="Rooms to read, and whose members to see: 'chat:*'. Repeatable.")
    ] = None,
    write: Annotated[list[str] | None, typer.Option(help="Rooms to write to, and to signal in.")] = None,
    redact: Annotated[
        list[str] | None, typer.Option(help="A moderator: rooms in which messages may be redacted. Repeatable.")
    ] = None,
    redact_own: Annotated[list[str] | None, typer.Option(help="The same, of one's own messages, for a day.")] = None,
    call: Annotated[list[str] | None, typer.Option(help="Handlers of the application to call: 'game:*'.")] = None,
    consume: Annotated[
        list[str] | None, typer.Option(help="Durable consumers to run; their rooms take --read. Repeatable.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="An administrator: everything in all rooms, and the dashboard.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.001, help="Hours until the token expires.")] = 1.0,
    config: Annotated[Path | None, typer.Option(help="The server's TOML file.")] = None,
) -> None:
    """Sign a token with the server's own secret (jwt.secret), for trying things out and for scripts."""
    from trunkline.access.jwt import sign  # noqa: PLC0415

    if not user:
        raise typer.BadParameter("a token needs the name of a user")
    settings = load(config, environment(), {"auth": "jwt"})
    if read or write or redact or redact_own or call or consume or admin:
        reading, writing = tuple(read or ()), tuple(write or ())
        admin_of = ("*",) if admin else ()
        rooms = Permissions(
            read=reading,
            presence=reading,
            write=writing,
            signal=writing,
            redact=tuple(redact or ()),
            redact_own=tuple(redact_own or ()),
            call=tuple(call or ()),
            consume=tuple(consume or ()),
            admin=admin_of,
        )
    else:
        rooms = None
        _warn("trunkline: no --read, --write or --admin: this token permits what `permissions` says")
    signing = (one for one in (settings.jwt, *settings.issuers) if one.secret or one.secret_file)
    issuer = next(signing, settings.jwt)
    sys.stdout.write(sign(issuer, user, hours * 3600, rooms) + "\n")


epoch_app = typer.Typer(no_args_is_help=True, help="Epochs of rooms (docs/durability.md).")
app.add_typer(epoch_app, name="epoch")


@epoch_app.callback()
def _epoch() -> None:
    """Epochs of rooms (docs/durability.md)."""


@epoch_app.command()
def new(
    store: Annotated[str | None, typer.Option(help="URL of the store; by default sqlite:///trunkline.db.")] = None,
    config: Annotated[Path | None, typer.Option(help="The server's TOML file.")] = None,
) -> None:
    """Begin a new epoch in every room, after an older copy of the log was restored in a way that it cannot detect.

    Readers that have read further than what is left are then told with a gap; the others notice nothing. The server
    must not run meanwhile, unless the log is in Redis.
    """
    from trunkline.stores import begin_epochs  # noqa: PLC0415

    settings = load(config, environment(), {"store": store})
    typer.echo(f"{begin_epochs(settings.store, settings.retention)}: each room goes on in a new epoch")


cli_admin.add_commands(app)
cli_log.add_commands(app)


def main() -> None:
    """The `trunkline` command. Errors are one line: exit code 2 if the call is wrong, 1 if the server is."""
    from trunkline.remote import RemoteError  # noqa: PLC0415

    try:
        app()
    except ConfigError as error:
        _warn(f"trunkline: {error}")
        sys.exit(2)
    except RemoteError as error:
        _warn(f"trunkline: {error}")
        sys.exit(error.exit_code)
    except TrunklineError as error:
        _warn(f"trunkline: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        sys.exit(0)
