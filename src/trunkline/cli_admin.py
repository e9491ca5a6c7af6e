"""What operators and moderators do from the command line, at a server that runs."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.config import TOKEN_VARIABLE

if TYPE_CHECKING:
    from trunkline.remote_admin import Operator

Url = Annotated[str, typer.Option("--url", envvar="TRUNKLINE_URL", help="The server.")]
DEFAULT_URL = "http://127.0.0.1:8000"
LOOK_S = 0.5  # how often it is asked where an erasure stands

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _operator(url: str) -> Operator:
    from trunkline.remote_admin import Operator  # noqa: PLC0415 - a server needs none of it

    return Operator(url, os.environ.get(TOKEN_VARIABLE))


def _warn(text: str) -> None:
    typer.echo(f"trunkline: {text}", err=True)


AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as it is.")]


def show(
    room: str,
    last: Annotated[int, typer.Option(min=0, max=100, help="How many of the newest messages.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show where a room stands, its readers and its newest messages. An administrator's token is read from
    TRUNKLINE_TOKEN."""
    from trunkline.remote_admin import connection_lines  # noqa: PLC0415

    found = _operator(url).room(room, last)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{room}: {found['epoch']}.{found['head']}, {found['members_count']} members")
    for line in (*connection_lines({"connections": found["readers"]}), *map(json.dumps, found["messages"])):
        typer.echo(line)
    _say_unknown(found)


def connections(
    user: Annotated[str | None, typer.Option(help="Those of a user.")] = None,
    room: Annotated[str | None, typer.Option(help="Those that read a room.")] = None,
    session: Annotated[str | None, typer.Option(help="The one of this name, as the log has it.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List streaming connections on all nodes: session, user, address, transport, age, messages, rooms.

    An administrator's token is read from TRUNKLINE_TOKEN.
    """
    from trunkline.remote_admin import connection_lines  # noqa: PLC0415

    wanted = {"user": user, "room": room, "session": session}
    found = _operator(url).connections(wanted)
    for line in [json.dumps(found)] if as_json else connection_lines(found):
        typer.echo(line)
    _say_unknown(found)


def kick(user: str, url: Url = DEFAULT_URL) -> None:
    """End all connections of a user, on all nodes; their tokens stay valid. The token is read from TRUNKLINE_TOKEN."""
    _say_reached(_operator(url).kick(user))


def revoke(
    user: Annotated[str | None, typer.Argument(help="Whose tokens are refused that were issued until now.")] = None,
    token_id: Annotated[str | None, typer.Option(help="The jti of the one token that is refused.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Refuse tokens, and end the connections made with them. It cannot be undone. The token is read from
    TRUNKLINE_TOKEN."""
    if user is None and token_id is None:
        raise typer.BadParameter("name the user, or a token by --token-id")
    _say_reached(_operator(url).revoke(user, token_id))


def _say_reached(reached: dict[str, Any]) -> None:
    typer.echo(f"{reached['connections']} connections ended")
    _say_unknown(reached)


def rooms(
    prefix: Annotated[str, typer.Argument(help="The beginning of the names.")] = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the rooms of the log: where they stand, what they hold, and their readers and members on all nodes.

    An administrator's token is read from TRUNKLINE_TOKEN.
    """
    from trunkline.remote_admin import room_lines  # noqa: PLC0415

    for page in _operator(url).rooms(prefix):
        for line in map(json.dumps, page["rooms"]) if as_json else room_lines(page):
            typer.echo(line)
        _say_unknown(page)


def redact(
    room: str,
    offsets: Annotated[list[int], typer.Argument(min=1, help="Of the messages.")],
    epoch: Annotated[str | None, typer.Option(help="Only if the offsets are of this epoch.")] = None,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Take the data of messages away, for all readers and for good. The token of a moderator or an administrator is
    read from TRUNKLINE_TOKEN."""
    _confirm(yes, f"The data of {len(offsets)} messages of {room} will be gone, and cannot be brought back. Go on?")
    done = _operator(url).redact(room, offsets, epoch)
    typer.echo(f"{len(done['redacted'])} messages redacted")
    _say_unknown(done)
    if not done["redacted"]:
        _warn(f"none of these is a message of {room} that has data")
        raise typer.Exit(1)


def delete(room: str, yes: Yes = False, url: Url = DEFAULT_URL) -> None:
    """Delete a room with all its messages. An administrator's token is read from TRUNKLINE_TOKEN."""
    _confirm(yes, f"All messages of {room} will be gone, and cannot be brought back. Go on?")
    done = _operator(url).delete(room)
    typer.echo(f"{done['messages']} messages deleted")
    _say_unknown(done)
    if done["epoch"] is None:
        _warn(f"{room} never had a message")
        raise typer.Exit(1)


def erase(user: str, yes: Yes = False, url: Url = DEFAULT_URL) -> None:
    """Erase a user: all that they sent is redacted in all rooms, and they with it. An administrator's token is read
    from TRUNKLINE_TOKEN. Ctrl-C ends the waiting, not the erasure."""
    _confirm(yes, f"All that {user} ever sent will be gone, in all rooms, and cannot be brought back. Go on?")
    operator = _operator(url)
    job = operator.erase(user)
    while job["state"] != "done":
        time.sleep(LOOK_S)
        job = operator.erasure(job["id"])
        typer.echo(f"{job['messages']} messages in {job['rooms']} rooms", err=True)
    typer.echo(f"{job['messages']} messages in {job['rooms']} rooms, and {job['marks']} read marks: {job['user_hash']}")
    _say_unknown(job)


def consumers(
    delete: Annotated[str | None, typer.Option(help="Forget this one, which must not run.")] = None,
    as_json: AsJson = False,
    yes: Yes = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the durable consumers: their rooms, how far they are behind, who runs them, and what they have set aside.

    An administrator's token is read from TRUNKLINE_TOKEN.
    """
    from trunkline.remote_admin import consumer_lines  # noqa: PLC0415

    operator = _operator(url)
    if delete is not None:
        _confirm(yes, f"Consumer {delete} will not know any more what it has handled. Go on?")
        operator.delete_consumer(delete)
        typer.echo(f"consumer {delete} is forgotten")
        return
    found = operator.consumers()
    for line in [json.dumps(found)] if as_json else consumer_lines(found):
        typer.echo(line)


def login(url: Url = DEFAULT_URL) -> None:
    """Print a one-time code with which you sign in at the dashboard. An administrator's token is read from
    TRUNKLINE_TOKEN."""
    made = _operator(url).code()
    typer.echo(made["code"])
    typer.echo(f"Paste it at {url.rstrip('/')}/admin within {made['expires_in_s']:.0f} s; it is good once.", err=True)


def _confirm(yes: bool, question: str) -> None:
    if not yes:
        typer.confirm(question, abort=True)


def _say_unknown(found: dict[str, Any]) -> None:
    from trunkline.remote_admin import unknown_lines  # noqa: PLC0415

    for line in unknown_lines(found):
        _warn(line)


COMMANDS = (rooms, show, connections, consumers, redact, delete, erase, kick, revoke)


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in COMMANDS:
        app.command()(command)
    admin = typer.Typer(no_args_is_help=True, help="The dashboard.")
    app.add_typer(admin, name="admin")
    admin.callback()(_admin)
    admin.command()(login)


def _admin() -> None:
    """The dashboard."""
