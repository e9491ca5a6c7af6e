"""Several processes behind one address, on one machine: the parent listens, starts them, and starts them again.

The parent holds the listening socket, so while a worker is away connections wait for another one instead of being
refused. It serves nothing itself. A worker that dies is replaced; on SIGHUP all are replaced, one after the other, each
only when its successor serves. SIGTERM and Ctrl-C end all of them, each as it would end alone. A worker whose parent is
gone ends, too: it would not be replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trunkline.config import WORKER_VARIABLE, Config
from trunkline.errors import ConfigError
from trunkline.server.board import Board, make_board
from trunkline.server.server import STOPPING, Inherited, Server, listener_of, metrics_listener_of, run
from trunkline.server.shared_figures import SharedFigures, make_shared_figures

log = logging.getLogger("trunkline")

SLOTS_OF_WORKER = 3  # on the board: its own, its successor's, and one of a predecessor that is slow to end
READY_S = 60.0
STOP_S = 30.0  # beyond every time that a worker takes to drain
HURRY_S = 5.0  # after the second signal; a worker that was stopped hears neither
TOO_SOON_S = 5.0  # a worker that lives shorter is not replaced at once
BAD_CONFIG = 2


class _Worker(NamedTuple):
    """A process, and the line on which it says that it serves."""

    process: asyncio.subprocess.Process
    line: asyncio.StreamReader
    writer: asyncio.StreamWriter
    place: int  # on the board


class Supervisor:
    """The parent.

    Args:
        command: What starts a worker.
        announce: Called once with the address, the place of the data, and the number of workers, when all serve.
    """

    def __init__(self, config: Config, command: Sequence[str], announce: Callable[[str, str, int], None]) -> None:
        self._command = command
        self._announce = announce
        self._slots: list[_Worker | None] = [None] * config.workers
        self._starting: set[asyncio.Task[_Worker | None]] = set()
        self._all: set[_Worker] = set()  # that have not ended, also those that are being replaced or started
        self._listener = listener_of(config)
        self._metrics_listener = metrics_listener_of(config)
        self._board = make_board()
        self._places = list(range(SLOTS_OF_WORKER * config.workers))  # on the board, that are free
        self._figures_file = make_shared_figures(len(self._places))
        self._figures = SharedFigures(self._figures_file, None)
        self._ends = 0  # of workers that were not asked to
        self._figures.write_of_parent(self._ends)
        self._serving = 0
        self._stopping = asyncio.Event()
        self._again = asyncio.Event()
        self._first = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Run until a signal; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in STOPPING:  # not by the loop, which gives them back to the system before the process has ended
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._stop_soon))
        loop.add_signal_handler(signal.SIGHUP, self._again.set)
        keepers = [asyncio.ensure_future(self._keep(slot)) for slot in range(len(self._slots))]
        replacing = asyncio.ensure_future(self._replace_for_ever())
        await self._stopping.wait()
        replacing.cancel()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, replacing, return_exceptions=True)
        while self._all or self._starting:  # one that is just being started is only then known
            await asyncio.gather(*[self._stop(worker) for worker in list(self._all)])
            if self._starting:
                await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        return self._code

    def _stop_soon(self) -> None:
        if self._stopping.is_set():  # said twice: no client is to be waited for
            for worker in list(self._all):
                _signal(worker, signal.SIGTERM)
                asyncio.get_running_loop().call_later(HURRY_S, _signal, worker, signal.SIGKILL)
        self._stopping.set()

    async def _keep(self, slot: int) -> None:
        """Keep a worker running in this place."""
        if slot:
            await self._first.wait()  # what is wrong with the settings is said once
        while True:
            began = time.monotonic()
            worker = self._slots[slot]
            if worker is None:
                worker = await self._start(slot)
                if worker is None:
                    await asyncio.sleep(TOO_SOON_S)
                    continue
            code = await worker.process.wait()
            if self._slots[slot] is not worker:
                continue  # it was replaced
            self._slots[slot] = None
            self._ended(worker)
            self._ends += 1
            self._figures.write_of_parent(self._ends)
            log.error("worker %d has ended (%d): another one is started", worker.process.pid, code)
            if time.monotonic() < began + TOO_SOON_S:
                await asyncio.sleep(1.0)

    async def _start(self, slot: int) -> _Worker | None:
        """Start one, and wait until it serves; None if it does not. A caller that gives up leaves it to `run`."""
        starting = asyncio.ensure_future(self._start_one(slot))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return await asyncio.shield(starting)

    async def _start_one(self, slot: int) -> _Worker | None:
        if self._stopping.is_set():
            return None
        ours, theirs = socket.socketpair()
        metrics = -1 if self._metrics_listener is None else self._metrics_listener.fileno()
        files = (self._listener.fileno(), theirs.fileno(), metrics, self._board, self._figures_file)
        place = self._places.pop(0)
        numbers = (*files, place, SLOTS_OF_WORKER * len(self._slots))
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                pass_fds=[file for file in files if file >= 0],
                env=os.environ | {WORKER_VARIABLE: ",".join(map(str, numbers))},
                start_new_session=True,  # Ctrl-C is for the parent, which tells them
            )
        except OSError as error:  # no memory, no processes left, or the interpreter is being replaced
            log.error("a worker cannot be started: %s", error)
            self._places.append(place)
            ours.close()
            return None
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = _Worker(process, reader, writer, place)
        self._all.add(worker)
        if self._stopping.is_set():
            return worker  # `run` ends it
        before, self._slots[slot] = self._slots[slot], worker
        try:
            async with asyncio.timeout(READY_S):
                line = (await reader.readline()).decode()
                if not line:
                    await process.wait()
        except TimeoutError:
            line = ""
        if line:
            self._first.set()
            if self._serving < len(self._slots):
                self._serving += 1
                if self._serving == len(self._slots):
                    url, _, data = line.rstrip("\n").partition("\t")
                    self._announce(url, data, self._serving)
            return worker
        self._slots[slot] = before
        await self._stop(worker)
        code = process.returncode
        if code == BAD_CONFIG and not self._first.is_set():  # and has said why; no other one would do better
            self._code = BAD_CONFIG
            self._stopping.set()
        elif not self._stopping.is_set():
            log.error("worker %d does not serve (%s)", process.pid, code)
        return None

    async def _replace_for_ever(self) -> None:
        while True:
            await self._again.wait()
            self._again.clear()
            for slot in range(len(self._slots)):
                before = self._slots[slot]
                if before is None:
                    continue  # one is being started anyway
                if await self._start(slot) is None:
                    log.error("the workers are not replaced: the first new one does not serve")
                    break
                await self._stop(before)

    async def _stop(self, worker: _Worker) -> None:
        _signal(worker, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await worker.process.wait()
        except TimeoutError:
            worker.process.kill()
            await worker.process.wait()
        self._ended(worker)

    def _ended(self, worker: _Worker) -> None:
        if worker in self._all:
            self._all.discard(worker)
            self._places.append(worker.place)
            self._figures.clear(worker.place)
        worker.writer.close()


def _signal(worker: _Worker, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if worker.process.returncode is None:
            worker.process.send_signal(number)


def supervise(config: Config, command: Sequence[str], announce: Callable[[str, str, int], None]) -> int:
    """Run `config.workers` processes until SIGTERM or Ctrl-C; returns the exit code.

    Raises:
        ConfigError: The address cannot be had.
    """
    return asyncio.run(Supervisor(config, command, announce).run())


Make = Callable[[Callable[[str, str], None], Inherited], Server]
"""Makes the server of a worker: it is told how to announce itself, and what its parent has given it."""


def work(make: Make, numbers: str) -> None:
    """Be one of the processes.

    Args:
        numbers: What the parent has put into WORKER_VARIABLE.

    Raises:
        ConfigError: A setting cannot be used.
    """
    try:
        listening, line_file, metrics, board_file, figures_file, place, places = map(int, numbers.split(","))
        listener, line = socket.socket(fileno=listening), socket.socket(fileno=line_file)
        metrics_listener = None if metrics < 0 else socket.socket(fileno=metrics)
        board, figures = Board(board_file, place, places), SharedFigures(figures_file, place)
        os.close(board_file)
        os.close(figures_file)
    except (ValueError, OSError):
        raise ConfigError(f"{WORKER_VARIABLE} is for the workers of --workers alone: take it out") from None
    listener.setblocking(False)

    def announce(url: str, data: str) -> None:
        line.sendall(f"{url}\t{data}\n".encode())
        line.setblocking(False)
        asyncio.get_running_loop().add_reader(line, _end, line)

    run(make(announce, Inherited(listener, metrics_listener, board, figures)))


def command() -> list[str]:
    """Return the command that starts a worker: this process's own."""
    return [sys.executable, "-m", "trunkline", *sys.argv[1:]]


def _end(line: socket.socket) -> None:
    """Note that the parent has ended: it writes nothing, so the pipe is readable at its end only."""
    asyncio.get_running_loop().remove_reader(line)
    log.error("the parent process is gone: this worker ends, too")
    signal.raise_signal(signal.SIGTERM)
