"""Which of its streams a client says that one is.

A request that was sent over a link that was cut, or to a server that was stopped, may arrive after the stream that its
client opened next: the time of arrival does not tell which of two streams is the newer one. So clients number them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from trunkline.errors import RequestError

_ATTEMPT = re.compile(r"([A-Za-z0-9_-]{8,64})\.(0|[1-9][0-9]{0,14})\Z")


class Attempt(NamedTuple):
    """One stream of a client.

    Attributes:
        life: Names one run of the client; the next run counts anew.
        number: Grows with each stream that the client opens.
    """

    life: str
    number: int


def parse_attempt(text: str) -> Attempt:
    """Parse `LIFE.NUMBER`.

    Raises:
        RequestError: `bad_command`.
    """
    match = _ATTEMPT.match(text)
    if match is None:
        raise RequestError("bad_command", "attempt is 8 to 64 of A-Z a-z 0-9 _ -, a point, and a number")
    return Attempt(match[1], int(match[2]))


def compare_attempts(one: Attempt | None, other: Attempt | None, unknown: int) -> int:
    """Return a negative number if *one* is older than *other*, a positive one if it is newer.

    0 means that they are the same request, repeated by a proxy, a browser or an HTTP client whose connection broke;
    *unknown* is returned if the client does not say.
    """
    if one is None or other is None or one.life != other.life:
        return unknown
    return one.number - other.number
