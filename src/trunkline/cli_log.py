"""What operators do to a log itself from the command line: back it up, put it back, copy it. No server is asked."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from trunkline.config import TOKEN_VARIABLE, Config, environment, load
from trunkline.errors import ConfigError

if TYPE_CHECKING:
    from trunkline.stores import Store

ROOMS_PER_LINE = 100
MARKS = {"ok": "ok      ", "warning": "warning ", "fault": "FAULT   "}

StoreUrl = Annotated[str | None, typer.Option("--store", help="URL of the store; by default sqlite:///trunkline.db.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="The server's TOML file.")]


T = TypeVar("T")


async def _with(settings: Config, use: Callable[[Store], Awaitable[T]]) -> T:
    from trunkline.stores import open_store, with_store  # noqa: PLC0415 - a server needs none of it

    return await with_store(open_store(settings.store, settings.retention), use)


def _settings(store: str | None, config: Path | None) -> Config:
    return load(config, environment(), {"store": store})


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _progress(room: str, rooms: int, messages: int) -> None:
    if rooms % ROOMS_PER_LINE == 0:
        _say(f"{rooms} rooms, {messages} messages: {room}")


def backup(file: Path, store: StoreUrl = None, config: ConfigFile = None) -> None:
    """Write a log to a file, while servers use it.

    The file is a SQLite log, whatever store it is of, which only its owner may read.
    """
    from trunkline.stores import sqlite_file  # noqa: PLC0415
    from trunkline.stores.backup import back_up, back_up_file  # noqa: PLC0415

    settings = _settings(store, config)
    log = sqlite_file(settings.store)
    if log is not None:  # which a server may use alone
        done = back_up_file(log, file)
    else:
        done = asyncio.run(_with(settings, lambda source: back_up(source, file, _progress)))
    typer.echo(f"{done.path}: {done.rooms} rooms, {done.messages} messages, {done.bytes} bytes")


def restore(
    file: Path,
    store: StoreUrl = None,
    config: ConfigFile = None,
    journal: Annotated[
        Path | None, typer.Option(help="Of a log in Redis: the journal of redactions that are newer than the backup.")
    ] = None,
) -> None:
    """Put a backup in the place of a log. Its servers must be stopped; their clients go on in new epochs.

    What was redacted, deleted or erased since the backup is so again, by the journal beside the log.
    """
    from trunkline.stores import SQLITE, sqlite_file  # noqa: PLC0415
    from trunkline.stores.backup import restore as put_back  # noqa: PLC0415

    settings = _settings(store, config)
    log = sqlite_file(settings.store)
    if log is None:
        _copy(f"{SQLITE}{file}", settings, journal)
        return
    done = asyncio.run(put_back(file, log, settings.retention))
    typer.echo(f"{log}: {done.rooms} rooms, {done.messages} messages")
    if done.before is not None:
        _say(f"what was there is {done.before} now: remove it when you do not need it")


def copy(
    source: Annotated[str, typer.Argument(help="URL of the store; its servers should be stopped.")],
    target: Annotated[str, typer.Argument(help="URL of a store without any room.")],
    config: ConfigFile = None,
) -> None:
    """Copy a log to another store, such as from SQLite to Redis, and compare both.

    Readers go on where they were: rooms go on in new epochs.
    """
    _copy(source, _settings(target, config), None)


def _copy(source_url: str, settings: Config, journal: Path | None) -> None:
    from trunkline.core.retention import FOREVER  # noqa: PLC0415
    from trunkline.stores import SQLITE, open_store, sqlite_file, with_store  # noqa: PLC0415
    from trunkline.stores.journal import Journal  # noqa: PLC0415
    from trunkline.stores.transfer import Copied, copy_log, replay  # noqa: PLC0415

    log = sqlite_file(source_url)
    if log is not None and not log.exists():
        raise ConfigError(f"there is no log at {source_url.removeprefix(SQLITE)}")
    source = open_store(source_url, FOREVER)

    async def run(target: Store) -> tuple[Copied, int]:
        copied = await with_store(source, lambda opened: copy_log(opened, target, _progress))
        return copied, 0 if journal is None else await replay(target, Journal(journal).read())

    copied, again = asyncio.run(_with(settings, run))
    typer.echo(f"{copied.rooms} rooms, {copied.messages} messages and {copied.marks} read marks, the same in both")
    typer.echo(f"sha256 {copied.sha256}")
    if again:
        typer.echo(f"{again} messages or rooms were redacted or deleted again")


def doctor(
    url: Annotated[
        str | None, typer.Option("--url", envvar="TRUNKLINE_URL", help="The address that clients use.")
    ] = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
    idle: Annotated[float, typer.Option(min=0, help="Seconds for which an idle stream is watched.")] = 35.0,
) -> None:
    """Examine this machine, the store and, with --url, the way to a server through its proxies; say what to do.

    A token, if one is needed, is read from TRUNKLINE_TOKEN. Exit code 1: something is wrong.
    """
    from trunkline.admin.doctor import certificate_finding, machine_findings  # noqa: PLC0415
    from trunkline.remote_doctor import Visit  # noqa: PLC0415
    from trunkline.stores import sqlite_file  # noqa: PLC0415
    from trunkline.stores.doctor import store_findings  # noqa: PLC0415

    settings, faults = _settings(store, config), 0
    log = sqlite_file(settings.store)
    location = None if log is None else str(log)
    findings = [machine_findings(settings.limits.connections_max, location), store_findings(settings.store)]
    if settings.tls_cert is not None:
        findings.append(iter([certificate_finding(Path(settings.tls_cert).read_bytes(), "tls_cert")]))
    if url is not None:
        findings.append(Visit(url, os.environ.get(TOKEN_VARIABLE)).findings(idle, _say))
    for finding in itertools.chain(*findings):
        faults += finding.level == "fault"
        typer.echo(f"{MARKS[finding.level]} {finding.what}: {finding.text}")
        if finding.advice:
            typer.echo(f"         {finding.advice}")
    if faults:
        raise typer.Exit(1)


COMMANDS = (backup, restore, copy, doctor)


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in COMMANDS:
        app.command()(command)
