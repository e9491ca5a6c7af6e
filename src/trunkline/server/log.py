"""The log of our server: lines of text or JSON on standard error, those of uvicorn among them.

logging ─► LogLimit ─► a bounded queue ─► a thread: structlog ─► standard error

The thread is there because whoever reads standard error may stop reading: then lines are dropped and counted, and the
event loop does not wait. Only the server sets this up; in an application of yours, the lines go where its own logging
sends them.
"""

from __future__ import annotations

import atexit
import copy
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec
import structlog

from trunkline.server.log_limit import LogLimit

Format = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

QUEUE_MAX = 10_000  # lines that wait to be written
LOOK_S = 1.0
CLOSE_S = 2.0  # at the end: as long as lines that wait are written
LINES_MAX = 10  # of one kind in log_limit.WINDOW_S
ENDED_LINES_MAX = 1000  # of connections that have ended
ENDED = "connection ended"

OUR_LOGGERS = ("trunkline", "uvicorn")


def set_up_log(
    format: Format,  # noqa: A002 - the name of the setting
    level: Level,
    loggers: Iterable[str] = ("",),
    stream: TextIO | None = None,
) -> LogHandler:
    """Write what is logged to standard error, from now on until the process ends.

    Args:
        format: `console` for people, `json` for machines: one object a line.
        level: What is less important than that is left out.
        loggers: Whose lines: by default all; where an application has a log of its own, OUR_LOGGERS.
        stream: Instead of standard error.
    """
    out = stream or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    handler = LogHandler(formatter_of(format, out.isatty()), out)
    for name in loggers:
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.addHandler(handler)
        logger.propagate = False
    # What it says of its start and its end, ours says better.
    logging.getLogger("uvicorn").setLevel("WARNING" if level == "info" else level.upper())
    atexit.register(handler.close)
    return handler


def formatter_of(format: Format, colors: bool) -> logging.Formatter:  # noqa: A002
    """Return what makes a line of a log record."""
    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _stamp,
        _printable,
        structlog.processors.format_exc_info,
    ]
    renderer: Any
    if format == "json":
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    else:
        before.append(_without_kind)
        renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _stamp(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Say when it was logged, which is not when it is written, and by which process."""
    at = datetime.fromtimestamp(event["_record"].created, UTC)
    event["pid"] = event["_record"].process
    event["timestamp"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _printable(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Write what no terminal should be told, and no JSON can hold, as an escape."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            text = value.rstrip("\n")
            shown = [one if one.isprintable() else one.encode("unicode_escape").decode() for one in text]
            event[name] = "".join(shown)
    return event


def _without_kind(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event.pop("kind", None)
    return event


def _to_json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class LogHandler(logging.Handler):
    """Takes log records, and has them written by a thread."""

    def __init__(self, formatter: logging.Formatter, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._stream = stream
        self._limit = LogLimit()
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_MAX)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="trunkline log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if record.args:
            record.__dict__["kind"] = record.msg  # by which lines that are different each time can be counted
        if record.msg == ENDED:  # its code is that of one connection, and nothing to count by
            kind, most = (ENDED, None), ENDED_LINES_MAX
        else:
            kind, most = (str(record.msg), getattr(record, "code", None)), LINES_MAX
        if self._limit.allows(kind, record, most, time.monotonic()):
            self._put(record)

    def close(self) -> None:
        """Write what waits, and no more. Idempotent."""
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=CLOSE_S)
            except queue.Full:
                return  # whoever reads the log does not
            self._thread.join(CLOSE_S)
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def _write_all(self) -> None:
        looked_at = time.monotonic()
        while True:
            try:
                record = self._queue.get(timeout=LOOK_S)
            except queue.Empty:
                pass
            else:
                if record is None:
                    self._write_repeated(float("inf"))
                    return
                self._write(record)
            now = time.monotonic()
            if now - looked_at >= LOOK_S:
                looked_at = now
                self._write_repeated(now)

    def _write_repeated(self, now: float) -> None:
        with self.lock or threading.RLock():
            over = self._limit.take_over(now)
        for line, times in over:
            assert isinstance(line, logging.LogRecord)
            more = copy.copy(line)
            more.exc_info = more.exc_text = None
            more.created = time.time()
            more.__dict__["repeated"] = times
            self._write(more)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._write(
                logging.makeLogRecord(
                    {"name": "trunkline", "levelname": "WARNING", "msg": "log lines dropped", "lines": dropped}
                )
            )

    def _write(self, record: logging.LogRecord) -> None:
        try:
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - a line that cannot be written must not end the log
            self._dropped += 1
