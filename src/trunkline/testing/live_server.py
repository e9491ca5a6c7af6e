"""A real server for tests with a browser: a process of its own, behind a proxy with faults."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from trunkline.engine.background import BackgroundLoop
from trunkline.testing.fault import Fault
from trunkline.testing.proxy import Proxy

T = TypeVar("T")

START_S = 20.0
STOP_S = 20.0
CALL_S = 10.0

LINES_MAX = 10_000  # of its output

_OURS = re.compile(r"Trunkline on http://[\w.:\[\]-]+?:(\d+)\b")
_UVICORN = re.compile(r"Uvicorn running on http://[\w.:\[\]-]+?:(\d+)\b")


class LiveServer:
    """A server in a process of its own, and a proxy in front of it. Use it as `with LiveServer() as server: …`.

    It is for tests that need a browser, or another process; its methods may be called from any thread.

    Args:
        app: Your ASGI application as `module:attribute`, which uvicorn serves; by default `trunkline serve`.
        store: Without *app*, the store's URL: by default a SQLite file that is removed at the end.
        arguments: More arguments of `trunkline serve`, or of uvicorn.
        environment: More environment variables.
        folder: Where the server runs; by default here.
        port: The proxy's port; by default a free one.
        echo: Called with each line that the server writes once it has started, on another thread.

    Attributes:
        url: The address to use: the proxy's.
    """

    def __init__(
        self,
        app: str | None = None,
        *,
        store: str | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        folder: str | Path | None = None,
        port: int = 0,
        echo: Callable[[str], object] | None = None,
    ) -> None:
        if app is not None and not isinstance(app, str):
            raise TypeError("the application runs in another process: name it, as module:attribute")
        self._own = tempfile.TemporaryDirectory(prefix="trunkline-")
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._echo = echo
        self._address = _OURS if app is None else _UVICORN
        self._lock = threading.Lock()
        if app is None:
            store = store or f"sqlite:///{self._own.name}/log.db"
            command = ["trunkline", "serve", "--host", "127.0.0.1", "--port", "0", "--store", store]
        else:
            command = ["uvicorn", app, "--host", "127.0.0.1", "--port", "0"]
        self._command = [sys.executable, "-u", "-m", "trunkline.testing.child", *command, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread
        self._has_started = False
        self._background: BackgroundLoop | None = None
        self.proxy: Proxy

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def output(self) -> str:
        """The last lines that the server has written."""
        return "".join(line + "\n" for line in tuple(self._lines))

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    # Life.

    def __enter__(self) -> Self:
        self._background = BackgroundLoop()
        try:
            target = self._start()
            self.proxy = self._call(lambda: Proxy(target, self._port))
            self._background.run(self.proxy.start(), CALL_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._background is not None
        self._background.run(self.proxy.close(), CALL_S)
        self._end()

    def _end(self) -> None:
        self._stop(kill=False)
        if self._background is not None:
            self._background.stop()
        self._own.cleanup()

    def _start(self) -> int:
        """Start the process; return its port.

        Raises:
            RuntimeError: It did not start; the text has what it wrote.
        """
        self._has_started = False
        self._process = process = subprocess.Popen(  # noqa: S603 - what the test says
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self._folder,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(process, lines), daemon=True)
        self._reader.start()
        end, said = time.monotonic() + START_S, ""
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = None
            found = None if line is None else self._address.search(line)
            if found is not None:
                self._has_started = True
                return int(found[1])
            if line is None:
                self._stop(kill=True)
                raise RuntimeError(f"the server did not start:\n{said}")
            said += line + "\n"

    def _read(self, process: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
        assert process.stdout is not None
        for data in process.stdout:
            line = data.decode("utf-8", "replace").rstrip("\n")
            self._lines.append(line)
            if not self._has_started:
                lines.put(line)  # `start` takes them, until the server has said its address
            elif self._echo is not None:
                self._echo(line)
        lines.put(None)

    def _stop(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(STOP_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def restart(self, *, kill: bool = False) -> None:
        """Stop the server and start it again; the address stays.

        Args:
            kill: It says goodbye to nobody (SIGKILL).

        Raises:
            RuntimeError: It did not start again.
        """
        with self._lock:
            self._stop(kill=kill)
            target = self._start()
            self._call(lambda: setattr(self.proxy, "target", target))

    # Faults.

    def reset(self) -> None:
        """Break all connections, as a network does; new ones get through."""
        self._call(self.proxy.reset)

    def cut(self) -> Fault:
        """Break all connections, and let none through until that is over."""
        return self.cause(Proxy.cut)

    def hang(self) -> Fault:
        """Let nothing through on connections that stay open, until that is over."""
        return self.cause(Proxy.hang)

    def delay(self, seconds: float) -> Fault:
        """Let everything arrive so much later, until that is over."""
        return self.cause(Proxy.delay, seconds)

    def buffer(self) -> Fault:
        """Keep what event streams bring until that is over, as proxies do that wait for the end of a response."""
        return self.cause(Proxy.buffer)

    def forget_upgrade(self) -> Fault:
        """Drop the header `Upgrade` until that is over, as proxies do that do not know WebSockets."""
        return self.cause(Proxy.forget_upgrade)

    def cause(self, verb: Callable[..., Fault], *arguments: object) -> Fault:
        """Cause a fault of the proxy."""
        fault = self._call(lambda: verb(self.proxy, *arguments))
        return Fault(lambda: self._call(fault.end))

    def _call(self, call: Callable[[], T]) -> T:
        assert self._background is not None, "use it as `with LiveServer() as server: …`"

        async def there() -> T:
            return call()

        return self._background.run(there(), CALL_S)
