"""examples/digest: a mail for each order, through a real mail server that dies, and a process that is killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import aiohttp
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.support import ROOT, Server, eventually, free_port, publish


class Box:
    """What was mailed."""

    def __init__(self) -> None:
        self.letters: list[Message] = []

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802 - its name in aiosmtpd
        assert isinstance(envelope.content, bytes)
        self.letters.append(message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters]


def begin(server: Server, port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TRUNKLINE_URL": server.url, "SMTP": f"127.0.0.1:{port}", "SENT": str(folder / "sent.db"),
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "examples.digest.app"], cwd=ROOT, env=environment)


@asynccontextmanager
async def away(port: int) -> AsyncIterator[list[int]]:
    """A mail server that is away: whoever connects is cut off, which is noted."""
    tries: list[int] = []

    def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(1)
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", port):
        yield tries


def mailed(folder: Path) -> int:
    """How many the worker has noted as mailed."""
    with sqlite3.connect(folder / "sent.db") as file:
        return int(file.execute("SELECT count(*) FROM sent").fetchone()[0])


async def test_each_order_is_mailed_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Also one that comes while the mail server is away, and one over which the process is killed."""
    box, port = Box(), free_port()
    mails = Controller(box, hostname="127.0.0.1", port=port)
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        await publish(http, server.url, "orders:1", {"email": "ana@example.com", "items": ["tea", "cups"]})
        worker = begin(server, port, tmp_path)
        try:
            async with away(port) as tries:
                await eventually(lambda: tries, 30)  # and the order waits
            assert box.letters == []
            mails.start()
            await eventually(lambda: box.subjects == ["Your order 1"], 30)
            await eventually(
                lambda: mailed(tmp_path) == 1
            )  # a death before that sends it twice: a mail server has no ids
            assert "- tea\n- cups" in str(box.letters[0].get_payload()).replace("\r", "")
            worker.kill()
            worker.wait()
            await publish(http, server.url, "orders:2", {"email": "ben@example.com", "items": []})
            worker = begin(server, port, tmp_path)
            await eventually(lambda: "Your order 2" in box.subjects, 30)
            assert box.subjects == ["Your order 1", "Your order 2"]
        finally:
            worker.kill()
            worker.wait()
            mails.stop()
