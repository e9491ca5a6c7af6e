"""Two ends within the process behave as those of a socket do."""

import asyncio

import pytest

from trunkline.testing.pipe import CHUNK_BYTES, HIGH_BYTES, PipeTransport, connect


class End(asyncio.Protocol):
    """One end, and all that happened to it."""

    def __init__(self, *, stays: bool = False) -> None:
        self.said: list[str] = []
        self.received = bytearray()
        self.stays = stays
        self.transport: PipeTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, PipeTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.said.append("end")
        return self.stays

    def pause_writing(self) -> None:
        self.said.append("full")

    def resume_writing(self) -> None:
        self.said.append("takes again")

    def connection_lost(self, exc: Exception | None) -> None:
        self.said.append(f"lost{'' if exc is None else ' by ' + type(exc).__name__}")


def pair(*, stays: bool = False) -> tuple[End, End]:
    client, server = End(), End(stays=stays)
    connect(client, server, 50_000)
    return client, server


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_bytes_arrive_in_order_and_later() -> None:
    client, server = pair()
    client.transport.write(b"a")
    client.transport.write(b"bc")
    assert server.received == b""
    await turns()
    assert server.received == b"abc"
    server.transport.write(memoryview(b"x" * (3 * CHUNK_BYTES)))
    await turns()
    assert len(client.received) == 3 * CHUNK_BYTES


async def test_each_end_knows_the_other_by_its_address() -> None:
    client, server = pair()
    assert server.transport.get_extra_info("peername") == ("127.0.0.1", 50_000)
    assert client.transport.get_extra_info("peername") == ("127.0.0.1", 80)
    assert client.transport.get_extra_info("sockname") == ("127.0.0.1", 50_000)
    assert client.transport.get_extra_info("ssl_object") is None


@pytest.mark.parametrize("how", ["pauses", "is frozen"])
async def test_who_does_not_read_holds_the_other_up(how: str) -> None:
    client, server = pair()
    stop, go_on = {
        "pauses": (client.transport.pause_reading, client.transport.resume_reading),
        "is frozen": (client.transport.freeze, client.transport.thaw),
    }[how]
    stop()
    server.transport.write(b"x" * (HIGH_BYTES + 1))
    await turns()
    assert (server.said, bytes(client.received)) == (["full"], b"")
    assert server.transport.get_write_buffer_size() == HIGH_BYTES + 1
    go_on()
    await turns()
    assert (server.said, len(client.received)) == (["full", "takes again"], HIGH_BYTES + 1)
    assert server.transport.get_write_buffer_size() == 0


async def test_closing_sends_what_was_written() -> None:
    client, server = pair()
    client.transport.write(b"bye")
    client.transport.close()
    client.transport.write(b"never")
    await turns()
    assert server.received == b"bye"
    assert (client.said, server.said) == (["lost"], ["end", "lost"])
    assert server.transport.is_closing()


async def test_one_side_may_end_before_the_other() -> None:
    client, server = pair(stays=True)
    client.transport.write_eof()
    await turns()
    assert (client.said, server.said) == ([], ["end"])
    server.transport.write(b"answer")
    server.transport.close()
    await turns()
    assert client.received == b"answer"
    assert (client.said, server.said) == (["end", "lost"], ["end", "lost"])


async def test_what_is_on_its_way_is_lost_in_an_abort() -> None:
    client, server = pair()
    server.transport.write(b"never")
    client.transport.abort()
    server.transport.write(b"nor this")
    await turns()
    assert client.received == b""
    assert (client.said, server.said) == (["lost"], ["lost by ConnectionResetError"])
    client.transport.abort()
    client.transport.close()
    await turns()
    assert client.said == ["lost"]


async def test_writing_to_an_end_that_has_closed() -> None:
    """It went away and left a half-open connection: the writer learns of it."""
    client, server = pair(stays=True)
    client.transport.close()
    await turns()
    server.transport.write(b"hello?")
    await turns()
    assert server.said == ["end", "lost by ConnectionResetError"]


async def test_what_a_transport_does_not_take() -> None:
    client, server = pair(stays=True)
    with pytest.raises(TypeError, match="data is bytes, not int"):
        client.transport.write(5)  # type: ignore[arg-type]
    for high, low in ((4, 5), (0, -1)):
        with pytest.raises(ValueError, match="must be >="):
            client.transport.set_write_buffer_limits(high, low)
    client.transport.set_write_buffer_limits(low=1000)
    assert client.transport.get_write_buffer_limits() == (1000, 4000)
    client.transport.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        client.transport.write(b"x")
    await turns()
    assert server.said == ["end"]


async def test_a_writer_learns_that_nobody_reads_any_more() -> None:
    """Both ends are paused and have something unsent; then one closes, and the other one goes away."""
    client, server = pair()
    client.transport.pause_reading()
    server.transport.pause_reading()
    server.transport.write(b"x" * 10)
    client.transport.close()
    await turns()
    assert client.said == ["lost"]
    assert server.said == ["lost by ConnectionResetError"]


@pytest.mark.parametrize("what", ["eof_received", "pause_writing", "resume_writing"])
async def test_a_protocol_that_fails_is_told(what: str) -> None:
    client, server = pair()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail() -> None:
        raise ZeroDivisionError

    setattr(server, what, fail)
    client.transport.pause_reading()
    server.transport.write(b"x" * (HIGH_BYTES + 1))
    client.transport.resume_reading()
    await turns()
    client.transport.write_eof()
    await turns()
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


async def test_a_protocol_that_fails_loses_its_connection() -> None:
    client, server = pair()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    server.data_received = lambda data: 1 / 0  # type: ignore[method-assign,assignment]
    client.transport.write(b"x")
    await turns()
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
    assert client.said == ["lost by ConnectionResetError"]
