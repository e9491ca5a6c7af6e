"""The endpoints without a server: a request as the exchange has it, an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from trunkline import Hub, JwtAuth
from trunkline.access.issuer import Issuer
from trunkline.access.jwt import sign
from trunkline.core.grant import Permissions
from trunkline.errors import RequestError
from trunkline.hub import context_of
from trunkline.transports.context import Context
from trunkline.transports.endpoints import admin, health, presence, publishing, reading
from trunkline.transports.endpoints.reading import StreamAnswer, outcome_of
from trunkline.transports.endpoints.table import Endpoint
from trunkline.transports.exchange import Answer, Pending
from trunkline.transports.poll import wait_out
from trunkline.wire.request_head import RequestHead

SECRET = "a secret for tests, of 32 bytes or more"


class Request:
    """A request, as endpoints see it."""

    is_counted = False
    scope: Mapping[str, Any] | None = None
    key: str | None = "127.0.0.9"

    def __init__(
        self, method: str, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes, room: str
    ) -> None:
        self.method = method
        self.head = RequestHead("/", query, {k.lower().encode(): v.encode() for k, v in headers.items()})
        self.path_parameters: Mapping[str, str] = {"room": room, "session": "nowhere-1"}
        self._body = body

    def body_now(self, bytes_max: int) -> bytes | None:
        return None

    async def body(self, bytes_max: int) -> bytes:
        if len(self._body) > bytes_max:
            raise RequestError("too_large", "too large")
        return self._body

    async def ended(self) -> None:
        await asyncio.Event().wait()


def request(method: str = "GET", body: object = None, room: str = "r", **query: str) -> Request:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    named = [(name.rstrip("_"), value) for name, value in query.items()]  # `room_` is in the query, `room` in the path
    return Request(method, named, headers, b"" if body is None else json.dumps(body).encode(), room)


def posted(body: object, headers: Mapping[str, str]) -> Request:
    return Request("POST", [], {"Content-Type": "application/json", **headers}, json.dumps(body).encode(), "r")


async def answer_of(endpoint: Endpoint, context: Context, asked: Request) -> Answer:
    answer = await outcome_of(endpoint(context, asked))
    assert not isinstance(answer, StreamAnswer)
    return answer if isinstance(answer, Answer) else await wait_out(asked, answer)


def said(answer: Answer | StreamAnswer | Pending) -> Any:
    assert isinstance(answer, Answer)
    return json.loads(answer.body)


async def test_publishing_and_reading() -> None:
    async with Hub("memory:") as hub:
        context = context_of(hub)
        first = await answer_of(publishing.publish_one, context, request("POST", {"data": 1, "id": "k"}))
        again = await answer_of(publishing.publish_one, context, request("POST", {"data": 1, "id": "k"}))
        assert (first.status, again.status, said(first)["offset"]) == (201, 200, 1)
        listed = await publishing.publish_list(context, request("POST", [{"room": "r", "data": n} for n in (2, 3)]))
        assert [receipt["offset"] for receipt in said(listed)] == [2, 3]
        page = said(await answer_of(reading.read_room, context, request(since="start")))
        assert [message["data"] for message in page["messages"]] == [1, 2, 3]
        rooms = said(await answer_of(reading.connect, context, request(since="r=2")))
        assert [message["data"] for message in rooms["messages"]] == [3]


async def test_traces_of_a_request_and_of_its_messages() -> None:
    """A message's own fields win, also if they are not valid; the headers hold for the others."""
    own, other = ({"traceparent": f"00-{n:032x}-{n:016x}-01", "tracestate": f"n={n}"} for n in (1, 2))
    async with Hub("memory:") as hub:
        context = context_of(hub)
        for body, headers in (
            ({"data": 1}, own),
            ({"data": 2, **own}, other),
            ({"data": 3, "traceparent": own["traceparent"]}, other),
            ({"data": 4, "traceparent": "?"}, other),
            ({"data": 5}, {"tracestate": "n=1"}),
            ({"data": 6}, {"traceparent": f"{own['traceparent']}, {own['traceparent']}"}),
        ):
            await answer_of(publishing.publish_one, context, posted(body, headers))
        listed = [{"room": "r", "data": 7}, {"room": "r", "data": 8, **own}]
        await publishing.publish_list(context, posted(listed, other))
        page = said(await answer_of(reading.read_room, context, request(since="start")))
        traces = [{k: v for k, v in message.items() if k.startswith("trace")} for message in page["messages"]]
        assert traces == [own, own, {"traceparent": own["traceparent"]}, {}, {}, {}, other, own]


async def test_an_event_stream_is_handed_on_with_what_it_asks_for() -> None:
    async with Hub("memory:") as hub:
        asked = Request("GET", [("last", "3")], {"Accept": "text/event-stream"}, b"", "r")
        answer = reading.read_room(context_of(hub), asked)
        assert isinstance(answer, StreamAnswer)
        assert answer.query.rooms == ["r"]


@pytest.mark.parametrize("room", ["", "a b", "x" * 300, "$", "$a b"])
async def test_a_room_that_cannot_be(room: str) -> None:
    async with Hub("memory:") as hub:
        for endpoint, method in ((reading.read_room, "GET"), (publishing.publish_one, "POST")):
            with pytest.raises(RequestError) as caught:
                await answer_of(endpoint, context_of(hub), request(method, {"data": 1}, room=room))
            assert caught.value.code == "bad_room"


async def test_signals_marks_and_members() -> None:
    async with Hub("memory:") as hub:
        context = context_of(hub)
        await hub.publish("r", 1)
        client = {"client": "client-12345"}
        assert (await presence.send_signal(context, request("POST", {"name": "typing"}, **client))).status == 204
        assert said(await presence.mark_seen(context, request("POST", {"offset": 1}, **client)))["unread"] == 0
        marks = said(await presence.list_read_marks(context, request()))
        assert [mark["offset"] for mark in marks["marks"]] == [1]
        assert said(await presence.list_members(context, request()))["count"] == 0
        counts = said(await presence.count_unread(context, request(room_="r", **client)))
        assert [(count["room"], count["unread"]) for count in counts["rooms"]] == [("r", 0)]
        assert (await presence.leave(context, request("DELETE", **client))).status == 204


async def test_only_administrators_administer() -> None:
    auth = JwtAuth([Issuer(secret=SECRET)])
    async with Hub("memory:", auth=auth) as hub:
        context = context_of(hub)

        def bearing(token: str, body: object) -> Request:
            made = request("POST", body)
            made.head.headers[b"authorization"] = f"Bearer {token}".encode()
            return made

        user = sign(Issuer(secret=SECRET), "ana", 60, Permissions(read=("*",)))
        root = sign(Issuer(secret=SECRET), "root", 60, Permissions(admin=("*",)))
        for endpoint in (admin.disconnect, admin.revoke):
            with pytest.raises(RequestError) as caught:
                await endpoint(context, bearing(user, {"user": "ben"}))
            assert caught.value.code == "forbidden"
            assert said(await endpoint(context, bearing(root, {"user": "ben"}))) == {
                "connections": 0, "missing_nodes": [],
            }  # fmt: skip
        assert said(await admin.whoami(context, bearing(user, None)))["user"] == "ana"
        assert said(await admin.issue_ticket(context, bearing(user, None)))["ticket"]


async def test_health() -> None:
    async with Hub("memory:") as hub:
        context = context_of(hub)
        assert said(await health.health(context, request())) == {"status": "ok"}  # and nothing to who may be anybody
        assert (await health.ready(context, request())).status == 200
        assert said(await health.alive(context, request())) == {"status": "ok"}
        await hub.drain()
        assert (await health.ready(context, request())).status == 503


async def test_a_foreign_page_is_told_nothing_of_its_query() -> None:
    async with Hub("memory:") as hub:
        asked = Request("GET", [("limit", "x")], {"Origin": "https://evil.example", "Host": "localhost"}, b"", "a b")
        with pytest.raises(RequestError) as caught:
            reading.read_room(context_of(hub), asked)
        assert caught.value.code == "bad_origin"


async def test_a_method_that_an_applications_route_lets_in_and_no_endpoint_serves() -> None:
    async with Hub("memory:") as hub:
        app = Starlette(routes=[Route("/scores", hub.endpoint("r"), methods=["GET", "POST", "PUT"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.put("/scores")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
            assert answer.json()["error"]["code"] == "method_not_allowed"
            assert (await client.get("/scores")).status_code == 200
