"""A real server for tests with a browser: a process of its own, behind a proxy with faults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
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
LOOK_S = 0.02

_ADDRESS = re.compile(r"\bon (https?://[\w.:\[\]-]+):(\d+)")


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
    ) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="trunkline-")
        self._log = Path(self._own.name) / "server.log"
        if app is None:
            store = store or f"sqlite:///{self._own.name}/log.db"
            command = ["-m", "trunkline", "serve", "--host", "127.0.0.1", "--port", "0", "--store", store]
        else:
            command = ["-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0"]
        self._command = [sys.executable, *command, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._background: BackgroundLoop | None = None
        self.proxy: Proxy

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def output(self) -> str:
        """What the server has written."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

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
        before = len(self.output)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - what the test says
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd=self._folder
            )
        end = time.monotonic() + START_S
        while True:
            found = _ADDRESS.search(self.output, before)
            if found is not None:
                return int(found[2])
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{self.output[before:]}")
            time.sleep(LOOK_S)

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

    def restart(self, *, kill: bool = False) -> None:
        """Stop the server and start it again; the address stays.

        Args:
            kill: It says goodbye to nobody (SIGKILL).

        Raises:
            RuntimeError: It did not start again.
        """
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
