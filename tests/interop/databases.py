"""PostgreSQL and MariaDB as processes of their own, on a port of loopback, with data that is gone afterwards."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from tests.support import WAIT_S, free_port, until


def _run(*command: str, user: str | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=user)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


@contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    """A folder that the database's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="trunkline-db-"))
    try:
        if user is not None:
            shutil.chown(path, user)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _answers(process: subprocess.Popen[bytes], connect: Callable[[], Any]) -> bool:
    assert process.poll() is None, f"{process.args!r} has ended"
    try:
        connect().close()
    except (psycopg.OperationalError, pymysql.OperationalError):
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def postgresql() -> Iterator[int]:
    """The port of a PostgreSQL with the database `postgres` and the user `postgres`, who needs no password."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    user = "postgres" if os.getuid() == 0 else None  # it does not run as root
    with _folder(user) as folder:
        data = str(folder / "data")
        _run(str(binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N", user=user)
        port = free_port()
        settings = [
            f"-cport={port}",
            "-clisten_addresses=127.0.0.1",
            f"-cunix_socket_directories={folder}",
            "-cfsync=off",
        ]
        process = subprocess.Popen(
            [str(binaries / "postgres"), "-D", data, *settings],
            user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"}
            until(lambda: _answers(process, partial(psycopg.connect, **address)), "PostgreSQL answers")
            yield port
        finally:
            _stop(process)


@contextmanager
def mariadb() -> Iterator[int]:
    """The port of a MariaDB with the database `test` and the user `root`, who needs no password."""
    user = getpass.getuser()
    with _folder(None) as folder:
        data = f"--datadir={folder}/data"
        _run(
            "mariadb-install-db",
            "--no-defaults",
            data,
            f"--user={user}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        port = free_port()
        process = subprocess.Popen(
            [
                "mariadbd", "--no-defaults", data, f"--user={user}", f"--port={port}", "--bind-address=127.0.0.1",
                f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            connect = partial(pymysql.connect, host="127.0.0.1", port=port, user="root")
            until(lambda: _answers(process, connect), "MariaDB answers")
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS test CHARACTER SET utf8mb4")
            yield port
        finally:
            _stop(process)
