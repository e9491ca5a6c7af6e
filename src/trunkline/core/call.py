"""Calls: a client asks the application to do something once, and is answered."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

from trunkline.core.grant import Grant
from trunkline.errors import RequestError

CALL_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:~-]{1,64}\Z")  # "." and ".." would be other paths
KEPT_MS = 60_000  # how long a call is recognised after its end
UNKNOWN_KEPT_MS = 86_400_000  # the same, if the node that ran it died, or gave it up


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a client: what its handler gets.

    Attributes:
        name: What is called.
        id: What the client calls it; None if it will not repeat it.
        grant: Who it is, and what it may do.
        member: The name under which the client is shown to others, as in presence and signals.
        session: The connection that it came on, to which `session` of `on_connect` belongs; empty over HTTP.
        address: The address of its client; empty if it is not known.
    """

    name: str
    id: str | None
    grant: Grant
    member: str
    session: str
    address: str

    @property
    def user(self) -> str | None:
        """The user; None without authentication."""
        return self.grant.user


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """What has become of a call.

    Attributes:
        state: `running`, on a node that may have died since; `done`; or `unknown`: its node died, or gave it up.
        node: Which node runs it, or ran it.
        json: What it was answered with, as JSON; None if it was refused.
        code, message, status, retry_after_ms: With what it was refused.
    """

    state: Literal["running", "done", "unknown"]
    node: str
    json: bytes | None = None
    code: str = ""
    message: str = ""
    status: int = 500
    retry_after_ms: int | None = None

    def encoded(self) -> bytes:
        """Return it as a record has it."""
        return msgspec.msgpack.encode(self)


_decode = msgspec.msgpack.Decoder(Outcome).decode


def decode_outcome(record: bytes) -> Outcome:
    """Return what a record says."""
    return _decode(record)


def check_call_name(name: str | None) -> str:
    """Check the name of a call; return it.

    Raises:
        RequestError: `bad_command`.
    """
    if name is None or CALL_NAME.match(name) is None:
        raise RequestError("bad_command", "a call has a name: 1 to 64 of A-Z a-z 0-9 _ . : ~ - and neither . nor ..")
    return name


def space_of(user: str | None, name: str, call_id: str) -> str:
    """Return the space of the record of a call: the same for each repeat, on every node."""
    parts = msgspec.msgpack.encode((user, name, call_id))
    return f"call:{hashlib.sha256(parts).hexdigest()[:40]}"


def outcome_unknown(why: str) -> RequestError:
    """Return the error of a call of which the server cannot tell whether it was carried out."""
    return RequestError("outcome_unknown", f"{why}: the call may have been carried out or not, and is not tried again")
