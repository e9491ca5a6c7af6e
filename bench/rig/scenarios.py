"""What is done to a server, and what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

READERS = 1000


class Scenario(NamedTuple):
    """A load.

    Attributes:
        kind: In which words (`Target.load`).
        flags: Of the generator.
        unit: Of what the processor time is given: `delivery`, `request`, `connection` or `second`.
        about: For a person.
    """

    kind: str
    flags: Sequence[str]
    unit: str
    about: str


def _readers(kind: str, messages: int, about: str, *more: str) -> Scenario:
    flags = ["--mode", "fanout", "--n", str(READERS), "--m", str(messages), "--warm", "20", *more, "--spin"]
    return Scenario(kind, flags, "delivery", about)


def _arrivals(kind: str, about: str) -> Scenario:
    return Scenario(kind, ["--mode", "idle", "--n", "5000", "--hold", "0.5", "--spin"], "connection", about)


def _requests(kind: str, about: str) -> Scenario:
    return Scenario(kind, ["--mode", "http", "--n", "40", "--dur", "2", "--spin"], "request", about)


# With --spin the generator never sleeps while it reads: else each write of the server would have to wake it up. That
# costs more than the write, and only servers pay it that are so slow that the generator has time to sleep.
SCENARIOS: dict[str, Scenario] = {
    "w1": _readers("websocket", 100, "1,000 readers, one message in flight", "--window", "1"),
    "w50": _readers("websocket", 1500, "1,000 readers, fifty in flight", "--window", "50"),
    "r200": _readers("websocket", 400, "1,000 readers, 200 messages a second", "--rate", "200"),
    "sse-w1": _readers("sse", 100, "1,000 event streams, one message in flight", "--window", "1"),
    "sse-w50": _readers("sse", 1500, "1,000 event streams, fifty in flight", "--window", "50"),
    "deflate-w1": _readers("deflate", 100, "1,000 readers, compressed, one in flight", "--window", "1"),
    "echo": Scenario(
        "echo",
        ["--mode", "echo", "--n", "100", "--dur", "2", "--spin"],
        "request",
        "100 publishers, each waits for its ack",
    ),
    "connect": _arrivals("connect", "5,000 WebSockets that join a room"),
    "sse-connect": _arrivals("sse-connect", "5,000 event streams"),
    "poll": _requests("poll", "short polls with nothing new, 40 connections"),
    "post": _requests("post", "messages by POST, 40 connections"),
    "long": Scenario(
        "long",
        ["--mode", "fanout", "--n", "100", "--m", "150", "--window", "1", "--warm", "10", "--spin"],
        "delivery",
        "100 long polls, ended by one message again and again",
    ),
    "guide": Scenario(
        "guide",
        ["--mode", "http", "--n", "40", "--dur", "4", "--rate", "40", "--post-every", "40"],
        "second",
        "40 people who poll, one request a second each, one message a second",
    ),
}
"""By name."""
