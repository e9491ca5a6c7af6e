"""uvicorn's HTTP/2, given its input in bites: with `uvicorn_http.py` the files that know uvicorn's insides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from trunkline.core.address_limits import Admission
from trunkline.errors import ConfigError
from trunkline.server.gate import Gate
from trunkline.server.uvicorn_http import BITE_BYTES


@cache
def http2_class() -> Callable[..., asyncio.Protocol]:
    """Return uvicorn's HTTP/2, counted like the rest. Rooms are served through it as through any ASGI server.

    Raises:
        ConfigError: What it needs is not installed.
    """
    try:
        from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol  # noqa: PLC0415 - an extra, for those who want it
    except ImportError:
        raise ConfigError('HTTP/2 needs an extra: pip install "trunkline[http2]"') from None

    class Http2Protocol(ZttpH2Protocol):
        def __init__(self, gate: Gate, admission: Admission, **arguments: Any) -> None:
            super().__init__(**arguments)
            self._gate = gate
            self._admission = admission
            self._asked = False
            self._untaken = b""
            self._unfinished: set[int] = set()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._generation = self._gate.admit(self)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            if len(data) <= BITE_BYTES and not self._untaken:
                self._take(data)
                return
            scheduled = bool(self._untaken)
            self._untaken += data
            self.transport.pause_reading()
            if not scheduled:
                self._take_bite()

        def _take_bite(self) -> None:
            if self.transport.is_closing():
                self._untaken = b""
                return
            bite, self._untaken = self._untaken[:BITE_BYTES], self._untaken[BITE_BYTES:]
            self._take(bite)
            if self._untaken:
                self.loop.call_soon(self._take_bite)
            elif not self.transport.is_closing():
                self.transport.resume_reading()

        def _take(self, data: bytes) -> None:
            super().data_received(data)
            self._asked = self._asked or bool(self.cycles)

        def expire(self) -> None:
            # It owes us a first request, and then the rest of each that it begins; uvicorn ends those that idle.
            unfinished = {stream for stream, cycle in self.cycles.items() if cycle.more_body}
            if not self._asked or unfinished & self._unfinished:
                self.transport.abort()
            else:
                self._unfinished = unfinished
                self._generation.discard(self)
                self._generation = self._gate.admit(self)

        def connection_lost(self, exc: Exception | None) -> None:
            self._untaken = b""
            self._generation.discard(self)
            self._admission.release()
            super().connection_lost(exc)

    return Http2Protocol
