"""Event streams and polls, without a socket or a clock: what happened goes in, what is to be done comes out.

The twin of `client/src/http_driver.js`: both replay the exchanges of `conformance/http`, so inputs and effects are
plain JSON objects, as those files have them. The drawing of the states stands in the JavaScript.

One file, although it is long: streams and polls share one machine, and differ in fifty lines each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from trunkline.client.json_text import Json, dumps
from trunkline.client.readings import POSITION
from trunkline.client.refusals import passes

TIMEOUT_MS = 10_000
IDLE_MS = 20_000
AWAY_MS = 1000  # between two requests to a server whose log does not answer
PAGE = 1000
JOINS_AT_ONCE = 4
ADDRESS_MAX = 12_000  # characters of rooms and positions: heads of requests are limited, ours and proxies'

# Refusals of a request for many rooms that one of them has earned.
OF_ONE_ROOM = frozenset(
    {
        "forbidden", "bad_room", "bad_position", "bad_json", "bad_command", "not_found", "too_deep", "too_large",
        "too_many_members",
    }
)  # fmt: skip

# The last event of an event stream, as a WebSocket's close code says it.
CLOSED = {
    "replaced": 4201, "disconnected": 4200, "unauthorized": 4100, "token_expired": 4101, "revoked": 4102,
    "store_unavailable": 1013,
}  # fmt: skip

# Answers to requests that have brought no token that is good. An application may refuse with a status of 401, too.
NO_TOKEN = frozenset({"unauthorized", "token_expired", "revoked", "http 401"})

Query = list[list[Any]]


class _Failed(Exception):
    """The driver cannot go on."""

    def __init__(self, down: Json) -> None:
        super().__init__(down["reason"])
        self.down = down


class _Handler(NamedTuple):
    """What takes the answer to a request."""

    answer: Callable[[Any], None]
    refused: Callable[[Json], None]
    text: Callable[[str], None]
    farewell: bool


def _nothing(_: Any) -> None:
    """Take an answer that nothing depends on."""


class HttpDriver:
    """What event streams and polls have in common: rooms with positions, and requests.

    Args:
        token: The token that requests carry; empty if there is none.
        joins: The rooms to read, and where each begins.
        wait_s: Of a long poll, in seconds.
        poll_ms: Between two short polls, in ms.
        attempt: Returns the name of the next stream.
        random: Returns a number from 0 to 1.
    """

    def __init__(
        self,
        *,
        token: str = "",
        joins: Iterable[Json] = (),
        wait_s: int = 0,
        poll_ms: int = 2000,
        attempt: Callable[[], str] = lambda: "",
        random: Callable[[], float],
    ) -> None:
        self._token = token
        self._wait_s = wait_s
        self._poll_ms = poll_ms
        self._attempt = attempt
        self._random = random
        self.state = "idle"
        self._rooms: dict[str, Json] = {}  # that are read: one that is left and joined again is another object
        self._joins = {join["room"]: join for join in joins}  # that are to be joined
        self._joining: dict[str, Json] = {}
        self._goodbyes: dict[str, None] = {}  # rooms in which members were shown this client, and shall not be any more
        # Events of before it was certain that this transport works, and as which their rooms were joined.
        self._held: list[tuple[Json, Json | None]] | None = []
        self._requests: dict[int, _Handler] = {}
        self._last_id = 0
        self._listening: int | None = None  # the request that a change of the rooms ends
        self._turned = False  # the rooms have changed since they were last asked for
        self._posts: list[tuple[int, Json]] = []  # bounded by the session's outbox
        self._is_posting = False
        self._failures = 0
        self._session = ""
        self._live = ""
        self._member = ""
        self._terms: Any = ""  # until when the token was said to be good
        self._effects: list[Json] = []

    def step(self, given: Json) -> list[Json]:
        """Take one input at a time; carry the effects out in order."""
        self._effects = []
        if self.state == "over":
            return []
        try:
            self._take(given)
        except _Failed as error:
            self._fail(error.down)
        except Exception as error:  # noqa: BLE001 - an answer that cannot be understood must not leave the session deaf
            self._fail({"reason": "internal", "text": f"{type(error).__name__}: {error}"})
        return self._effects

    def _take(self, given: Json) -> None:
        kind = given["type"]
        if kind == "start":
            self._begin()
        elif kind == "send":
            self._send(given["command"])
        elif kind == "auth":
            self._auth(given["token"])
        elif kind == "close":
            self._close()
        elif kind == "turn":
            self._turn()
        elif kind == "timer":
            if self.state == "resting":
                self._go_on()
        elif kind == "overheard":
            self._overhear(given["event"])
        elif given["id"] in self._requests:  # else it was aborted
            request_id = given["id"]
            if kind == "text":
                self._requests[request_id].text(given["text"])
                return
            handler = self._requests.pop(request_id)
            if self._listening == request_id:
                self._listening = None
            if kind == "answer":
                handler.answer(given["body"])
            elif kind == "refused":
                handler.refused(given["down"])
            else:
                handler.refused({"reason": "ended", "text": "the stream has ended"})

    def _do(self, effect: str, **more: Any) -> None:
        self._effects.append({"do": effect, **more})

    def _request(
        self,
        path: str,
        *,
        answer: Callable[[Any], None] = _nothing,
        refused: Callable[[Json], None] = _nothing,
        text: Callable[[str], None] = _nothing,
        query: Query | None = None,
        method: str | None = None,
        body: Json | None = None,
        stream: bool = False,
        timeout_ms: int = TIMEOUT_MS,
        farewell: bool = False,
    ) -> int:
        self._last_id += 1
        self._requests[self._last_id] = _Handler(answer, refused, text, farewell)
        self._do(
            "request",
            id=self._last_id,
            method=method or ("GET" if body is None else "POST"),
            path=path,
            query=query or [],
            token=self._token,
            **({} if body is None else {"body": body}),
            stream=stream,
            timeoutMs=timeout_ms,
            farewell=farewell,
        )
        return self._last_id

    def _fail(self, down: Json) -> None:
        self._close()
        self._do("down", down=down)

    def _close(self) -> None:
        if self.state == "over":
            return
        self.state = "over"
        self._part()
        self._do("cancel")
        for request_id, handler in self._requests.items():
            if not handler.farewell:
                self._do("abort", id=request_id)
        self._requests.clear()

    # Events.

    def _welcome(self) -> None:
        """Note that this transport works."""
        held, self._held = self._held, None
        if held is not None:
            self._event({"type": "welcome"})
            for event, joined in held:
                self._event(event, joined)

    def _event(self, event: Json, joined: Json | None = None) -> None:
        """Pass an event on; not if its room, which was joined as *joined*, was left since."""
        if self.state == "over" or (joined is not None and self._rooms.get(joined["room"]) is not joined):
            return
        if self._held is not None:
            self._held.append((event, joined))
        else:
            self._do("event", event=event)

    def _tell(self, gaps: Sequence[Json], entries: Sequence[Json], reading: Mapping[str, Json]) -> None:
        for gap in gaps:
            self._event({"type": "gap", **gap}, reading.get(gap["room"]))
        for entry in entries:
            kind = "redacted" if "redacts" in entry else "message"
            self._event({"type": kind, **entry}, reading.get(entry["room"]))

    # Joining.

    def _begin(self) -> None:
        """Join the rooms that are to be joined, a few at a time; then listen."""
        self.state = "joining"
        self._turned = False
        self._join_more()

    def _join_more(self) -> None:
        if self.state != "joining":
            return
        while self._joins and len(self._joining) < JOINS_AT_ONCE:
            self._join(self._joins.pop(next(iter(self._joins))))
        if self._joining:
            return
        if self._turned:
            self._begin()
            return
        self._part()
        if self._rooms:
            self._listen()
        else:
            self._ask()

    def _join(self, join: Json) -> None:
        """Ask for a page of a room, which says where it stands, unless that is known."""
        room, start = join["room"], join["start"]
        if POSITION.match(str(start.get("since"))):
            self._rooms[room] = {**join, "position": start["since"]}
            return
        self._joining[room] = join

        def is_current() -> bool:
            is_same = self._joining.get(room) is join
            if is_same:
                del self._joining[room]
            return is_same

        def answer(page: Json) -> None:
            self._do("heard")
            if is_current():
                joined = self._rooms[room] = {**join, "position": page["next"]}
                self._event({"type": "joined", "room": room, "epoch": page["epoch"], "head": page["head"]}, joined)
                self._tell([page["gap"]] if page["gap"] else [], _entries(page), {room: joined})
            self._join_more()

        def refused(down: Json) -> None:
            if is_current():
                self._lose(room, down)
            self._join_more()

        given = [["since", start.get("since")], ["last", start.get("last")], ["limit", PAGE]]
        query = [[name, value] for name, value in given if value is not None]
        self._request(f"rooms/{room}", answer=answer, refused=refused, query=query)

    def _lose(self, room: str, down: Json) -> None:
        """Give up one room that may not be read, and keep the others."""
        if down["reason"] not in OF_ONE_ROOM and down["reason"] != "too_many_rooms":
            raise _Failed(down)
        self._rooms.pop(room, None)
        text = down.get("text") or down["reason"]
        self._event({"type": "error", "about": "join", "room": room, "code": down["reason"], "message": text})

    def _hide(self, joined: Json, down: Json) -> None:
        """Read a room without its presence, because that was refused."""
        joined["presence"] = False
        text = down.get("text") or down["reason"]
        refusal = {"about": "presence", "room": joined["room"], "code": down["reason"], "message": text}
        self._event({"type": "error", **refusal}, joined)

    # Listening.

    def _listen(self) -> None:
        """Send the request that listens to all rooms."""
        raise NotImplementedError

    def _ask(self) -> None:
        """Find out whether the server is there, when there is no room to listen to."""
        self.state = "listening"

        def answer(who: Json) -> None:
            self._welcome()
            self._event({**who, "type": "authenticated"})
            self._rest(IDLE_MS)

        self._request("whoami", answer=answer, refused=self._refused_listening)

    def _refused_listening(self, down: Json) -> None:
        reason = down["reason"]
        if reason in OF_ONE_ROOM:
            self._check(down, list(self._rooms.values()), found=False)
        elif reason == "store_unavailable" and self._held is None:
            # The server is there, its log is not: this client stays, as all do that have a stream.
            self._rest((down.get("retryAfterMs") or AWAY_MS) * (0.5 + self._random()))
        elif reason == "too_many_rooms" and self._rooms:
            self._lose(next(reversed(self._rooms)), down)
            self._go_on()
        elif self._turned:
            self._go_on()
        else:
            raise _Failed(down)

    def _rest(self, ms: float) -> None:
        """Wait, unless the rooms have changed meanwhile."""
        if self._turned:
            self._go_on()
            return
        self.state = "resting"
        self._do("timer", ms=int(ms) if ms == int(ms) else ms)

    def _go_on(self) -> None:
        """Ask again, from where the rooms stand."""
        self._do("heard")
        self._begin()

    def _turn(self) -> None:
        """Ask for the rooms anew, because they have changed."""
        self._turned = True
        self._live = ""  # of a room that is new here everything is to be told
        if self.state == "resting":
            self._do("cancel")
            self._go_on()
        elif self._listening is not None:
            self._abort_listening(self._listening)
            self._go_on()

    def _abort_listening(self, request_id: int) -> None:
        del self._requests[request_id]
        self._do("abort", id=request_id)
        self._listening = None

    def _part(self) -> None:
        """Leave the rooms in which this client is still shown: after a stream has ended it would be for a while."""
        for room in self._goodbyes:
            if not _is_shown(self._rooms.get(room, {}).get("presence")):
                self._request(f"rooms/{room}/presence", method="DELETE", farewell=True)
        self._goodbyes.clear()

    def _check(self, down: Json, rooms: list[Json], *, found: bool) -> None:
        """Find out which of several rooms was refused, room by room, and go on without it.

        Args:
            rooms: The rooms that are still to be checked.
            found: Whether something was found already.
        """
        self.state = "checking"
        if not rooms:
            if not found:  # it has passed, or comes from elsewhere
                raise _Failed({"reason": "network", "text": down.get("text") or down["reason"]})
            self._go_on()
            return
        joined, *others = rooms
        path = f"rooms/{joined['room']}"
        limit: list[Any] = ["limit", 1]

        def go_on(*, more: bool) -> None:
            self._check(down, others, found=found or more)

        def refused(refusal: Json) -> None:
            self._lose(joined["room"], refusal)
            go_on(more=True)

        def hidden(refusal: Json) -> None:
            if refusal["reason"] not in OF_ONE_ROOM:
                raise _Failed(refusal)
            self._hide(joined, refusal)
            go_on(more=True)

        def answer(_: Any) -> None:
            if not joined["presence"]:
                go_on(more=False)
                return
            query: Query = [limit, ["presence", _encoded(joined["presence"])]]
            self._request(path, answer=lambda _: go_on(more=False), refused=hidden, query=query)

        since: Query = [limit, ["since", joined["position"]]]
        self._request(path, answer=answer, refused=refused, query=since)

    def _query(self) -> Query:
        """Return every room from where it stands, and what its members are to be shown of this client."""
        left = ADDRESS_MAX
        presences: dict[str, list[str]] = {}
        for joined in list(self._rooms.values()):
            room, position, presence = joined["room"], joined["position"], joined["presence"]
            left -= len(room) + len(position) + 2
            if left < 0:
                text = "the names of all rooms together are too long"
                self._lose(room, {"reason": "too_many_rooms", "text": text})
                continue
            if not presence:
                continue
            what = _encoded(presence)
            length = len(room) + 1 + (0 if what in presences else len(quote(what, safe="!~*'()")) + 20)
            if length > left:
                text = "what is shown of this client in all rooms together is too long"
                self._hide(joined, {"reason": "too_large", "text": text})
            else:
                left -= length
                presences.setdefault(what, []).append(room)
        since = ",".join(f"{joined['room']}={joined['position']}" for joined in self._rooms.values())
        query = [["since", since]]
        for what, rooms in presences.items():
            query += [["presence", what], ["in", ",".join(rooms)]]
        return query

    def _move(self, positions: str, reading: Mapping[str, Json]) -> None:
        """Note positions, `a=k3f9x2.42,b=p0q8.7`, of the rooms that are still read."""
        for part in positions.split(","):
            room, _, position = part.rpartition("=")
            joined = reading.get(room)
            if joined is None:
                continue
            before, joined["position"] = joined["position"], position
            epoch, _, offset = position.partition(".")
            # The log goes on under another epoch: on a WebSocket, the server says so itself.
            if "." in before and not before.startswith(f"{epoch}."):
                self._event({"type": "joined", "room": room, "epoch": epoch, "head": int(offset)}, joined)

    # Commands.

    def _send(self, command: Json) -> None:
        kind, room = command["type"], command.get("room", "")
        if kind == "join":
            known = self._rooms.get(room) or self._joins.get(room) or self._joining.get(room)
            start = {name: command[name] for name in ("since", "last") if command.get(name) is not None}
            if start:
                self._joins[room] = {"room": room, "start": start, "presence": command["presence"]}
            elif known is not None:
                if _is_shown(known["presence"]):
                    self._goodbyes[room] = None
                known["presence"] = command["presence"]
            self._turn()
        elif kind == "leave":
            if room in self._rooms and _is_shown(self._rooms[room]["presence"]):
                self._goodbyes[room] = None
            for rooms in (self._rooms, self._joins, self._joining):
                rooms.pop(room, None)
            self._event({"type": "left", "room": room})
            self._turn()
        elif kind == "message":
            # One at a time, for two requests of one client may overtake each other; and none behind one that failed.
            self._posts.append((self._failures, command))
            self._post()
        elif kind in ("signal", "seen"):
            self._send_fields(kind, command)
        elif kind == "call":
            call_id: str = command["id"]
            self._request(
                f"calls/{command['name']}",
                answer=lambda result: self._event({"type": "result", "id": call_id, "data": result["data"]}),
                refused=lambda down: self._refused_command(down, about="call", id=call_id),
                body={"id": call_id, "data": command["data"]},
            )
        elif kind == "unread":
            rooms_named = command["rooms"]
            self._request(
                "unread",
                answer=lambda counts: self._event({"type": "unread", **counts}),
                refused=lambda down: self._refused_command(down, about="unread", room=str(rooms_named[0])),
                query=[["room", one] for one in rooms_named],
            )

    def _send_fields(self, kind: str, command: Json) -> None:
        room = command["room"]

        def answer(count: Any) -> None:
            if count:
                self._event({"type": "unread", "rooms": [count]})

        self._request(
            f"rooms/{room}/{'seen' if kind == 'seen' else 'signals'}",
            answer=answer,
            refused=lambda down: self._refused_command(down, about=kind, room=room),
            body={name: value for name, value in command.items() if name not in ("type", "room")},
            farewell=kind == "seen",
        )

    def _post(self) -> None:
        while self._posts and not self._is_posting:
            failures, command = self._posts.pop(0)
            if failures == self._failures:
                self._is_posting = True
                self._publish(command["room"], {k: v for k, v in command.items() if k not in ("type", "room")})

    def _publish(self, room: str, body: Json) -> None:
        def done() -> None:
            self._is_posting = False
            self._post()

        def answer(receipt: Json) -> None:
            self._event({"type": "ack", **receipt})
            done()

        def refused(down: Json) -> None:
            self._refused_command(down, about="message", id=body["id"], room=room)
            done()

        self._request(f"rooms/{room}", answer=answer, refused=refused, body=body)

    def _refused_command(self, down: Json, **what: str) -> None:
        if down["reason"] in NO_TOKEN:
            raise _Failed(down)  # nothing will come through before there is another token
        reason = _reason_of(down)
        self._failures += what["about"] == "message" and passes(reason)
        self._event({"type": "error", **what, **reason})

    def _auth(self, token: str) -> None:
        before, self._token = self._token, token
        self._terms = ""  # are to be told anew
        if not self._session:
            self._turn()  # the next request brings it
            return

        def refused(down: Json) -> None:
            if down.get("status") == 401:
                if not down.get("retryAfterMs"):
                    raise _Failed(down)
                self._token = before  # which holds the stream open until it ends
                self._event({"type": "error", "about": "auth", **_reason_of(down)})
                return
            self._turn()  # there may be another stream by now

        self._request(
            f"sessions/{self._session}/auth",
            answer=lambda answer: self._event({"type": "authenticated", **answer}),
            refused=refused,
            method="POST",
        )

    def _overhear(self, event: Json) -> None:
        """Take what another connection of the same user has heard in a room that is read here, too."""


class EventStreamDriver(HttpDriver):
    """An event stream for all rooms."""

    def _listen(self) -> None:
        self.state = "listening"
        reading = dict(self._rooms)
        query: Query = [["attempt", self._attempt()], *self._query()]
        rest = ""

        def text(piece: str) -> None:
            nonlocal rest
            self._welcome()
            self._do("heard")
            *blocks, rest = (rest + piece).split("\n\n")
            for block in blocks:
                down = self._block(block, reading) if self._listening == request_id else None
                if down is not None:
                    self._abort_listening(request_id)
                    self._refused_listening(down)

        request_id = self._listening = self._request(
            "connect",
            text=text,
            refused=self._refused_listening,
            query=query,
            stream=True,
            timeout_ms=0,
        )

    def _block(self, block: str, reading: Mapping[str, Json]) -> Json | None:
        """Take one event (HTML Living Standard, section 9.2.6); return why the stream is of no use any more, if so."""
        fields = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if name and colon:
                fields[name] = value.lstrip()
        if fields.get("id"):
            self._move(fields["id"], reading)
        if not fields.get("data"):
            return None
        body, kind = json.loads(fields["data"]), fields.get("event", "message")
        if kind == "closed" and body["code"] in OF_ONE_ROOM:
            return {"reason": body["code"], "text": body["message"]}
        if kind == "closed":
            code, after_ms = CLOSED.get(body["code"], 4000), body.get("retry_after_ms") or 0
            raise _Failed({"code": code, "reason": body["code"], "text": body["message"], "retryAfterMs": after_ms})
        if kind == "welcome":
            self._session = body["session"]
            self._event({**body, "type": "authenticated"})
        else:
            self._event({"type": kind, **body}, reading.get(body.get("room", "")))
        return None


class PollDriver(HttpDriver):
    """Polls for all rooms, long if `wait_s` is given."""

    def _listen(self) -> None:
        self.state = "listening"
        wait_s = self._wait_s if self._live else 0
        reading = dict(self._rooms)
        query: Query = [*self._query(), ["wait", wait_s], ["limit", PAGE], ["live", self._live or 0]]
        self._listening = self._request(
            "connect",
            answer=lambda answer: self._page(answer, reading),
            refused=self._refused_listening,
            query=query,
            timeout_ms=wait_s * 1000 + TIMEOUT_MS,
        )

    def _overhear(self, event: Json) -> None:
        joined = self._rooms.get(event.get("room", ""))
        if joined is None or self._held is not None:
            return
        kind = event["type"]
        if kind in ("message", "redacted"):
            epoch, _, offset = joined["position"].partition(".")
            if event["offset"] == int(offset) + 1:
                joined["position"] = f"{epoch}.{event['offset']}"
                self._event(event, joined)
            elif event["offset"] > int(offset):
                self._turn()
        elif kind == "gap":
            self._turn()
        elif event["member"] != self._member if kind == "signal" else joined["presence"]:
            self._event(event, joined)

    def _page(self, answer: Json, reading: Mapping[str, Json]) -> None:
        self._welcome()
        live = answer["live"]
        self._move(answer["next"], reading)
        self._live = live["next"]
        self._member = live["member"]
        if self._terms != str(live["expires_at"]):
            self._terms = str(live["expires_at"])
            terms = {name: live.get(name) for name in ("user", "member", "expires_in_ms", "retry_max_ms")}
            self._event({"type": "authenticated", **terms})
        entries = _entries(answer)
        self._tell(answer["gaps"], entries, reading)
        for signal in live["signals"]:
            if signal["member"] != live["member"]:
                self._event({"type": "signal", **signal}, reading.get(signal["room"]))
        for kind in ("presence", "seen"):
            for one in live[kind]:
                self._event({"type": kind, **one}, reading.get(one["room"]))
        if self._wait_s or len(entries) >= PAGE:
            self._go_on()
        else:
            self._do("resting", rooms=[[joined["room"], joined["position"]] for joined in self._rooms.values()])
            self._rest(self._poll_ms)


def _entries(page: Json) -> list[Json]:
    """Return the messages and redactions of a page, in order."""
    redactions = page.get("redactions", ())
    if not redactions:
        return list(page["messages"])
    return sorted([*page["messages"], *redactions], key=lambda entry: int(entry["offset"]))


def _encoded(presence: Any) -> str:
    """Return what is asked of presence as URLs have it."""
    return presence if isinstance(presence, str) else dumps(presence).decode()


def _is_shown(presence: Any) -> bool:
    """Return whether members are shown this client."""
    return bool(presence) and presence != "watch"


def _reason_of(down: Json) -> Json:
    """Return why a request came to nothing, as the session is told."""
    status, after_ms = down.get("status", 0), down.get("retryAfterMs")
    # What is not of our server comes from something on the way, or there was no answer.
    is_ours = status and not down["reason"].startswith("http ")
    is_lost = not is_ours and (not status or status >= 500 or status == 429)
    reason = {"code": "network" if is_lost else down["reason"], "message": down.get("text") or down["reason"]}
    return {**reason, "retry_after_ms": after_ms} if after_ms else reason
