"""Calls: carried out at most once, whatever way they come, and typed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pydantic
import pytest

from tests.access.support import SECRET, bearer, serving, token
from tests.support import eventually
from trunkline import Call, Grant, HookFailed, Hub, Issuer, JwtAuth, Limits, Permissions, Refused, RequestError
from trunkline.core.call import Outcome, space_of
from trunkline.core.grant import EVERYTHING
from trunkline.errors import ConfigError, StoreUnavailable, TrunklineError
from trunkline.handlers import calls as module
from trunkline.hub import context_of
from trunkline.stores.base import Swap
from trunkline.testing import TestHub


class Move(msgspec.Struct):
    x: int
    y: int


class Player(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


def game() -> tuple[Hub, list[Any]]:
    hub = Hub("memory:")
    made: list[Any] = []

    @hub.call("move")
    async def move(call: Call, move: Move) -> dict[str, int]:
        made.append((call.name, call.user, move))
        if move.x > 9:
            raise Refused("off_board", "that is not on the board", status=409)
        if move.x < 0:
            raise ValueError("negative")
        await hub.publish("game", {"x": move.x})
        await hub.signal("game", "moved", {"x": move.x})
        return {"sum": move.x + move.y}

    @hub.call("join")
    def join(call: Call, player: Player) -> Player:
        made.append(player)
        return Player(name=player.name.upper(), age=player.age)

    @hub.call("many")
    def many(_: Call, players: list[Player]) -> int:
        return len(players)

    @hub.call("plain")
    async def plain(_: Call, data: Any) -> Any:
        return data

    @hub.call("time:*")
    async def time(call: Call) -> str:
        return call.name

    return hub, made


def asked(name: str = "move", user: str | None = None, call_id: str | None = None, **more: Any) -> Call:
    grant = Grant(user=user, permissions=EVERYTHING)
    return Call(name=name, id=call_id, grant=grant, member="m", session="", address="", **more)


async def call(hub: Hub, name: str, data: Any, call_id: str | None = None, key: str | None = None) -> Any:
    answer = await context_of(hub).calls.call(asked(name, None, call_id), msgspec.json.encode(data), key)
    return msgspec.json.decode(answer)


async def post(http: aiohttp.ClientSession, url: str, name: str, body: Any, **headers: str) -> tuple[int, Any]:
    async with http.post(f"{url}/calls/{name}", json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_by_http_and_by_websocket(http: aiohttp.ClientSession) -> None:
    """On our server and on another: the result, the application's refusal, its failure, and what is not there."""
    hub, made = game()
    async with serving(hub) as urls:
        for url in urls:
            made.clear()
            assert await post(http, url, "move", {"data": {"x": 1, "y": 2}}) == (200, {"id": None, "data": {"sum": 3}})
            status, told = await post(http, url, "move", {"data": {"x": 10, "y": 0}, "id": f"a{url}"})
            assert (status, told["error"]["code"]) == (409, "off_board")
            status, told = await post(http, url, "move", {"data": {"x": -1, "y": 0}})
            assert (status, told["error"]) == (500, {"code": "internal", "message": "the application failed"})
            status, told = await post(http, url, "nothing", {})
            assert (status, told["error"]["code"]) == (404, "unknown_call")
            async with http.ws_connect(f"{url}/connect") as socket:
                await socket.receive_json()
                sent = [("move", {"x": 1, "y": 1}), ("time:now", None), ("move", {"x": 10, "y": 0})]
                for n, (name, data) in enumerate(sent):
                    await socket.send_json({"type": "call", "id": f"{n}{url}", "name": name, "data": data})
                answers = [await socket.receive_json() for _ in range(3)]
                by_id = {answer["id"][0]: answer for answer in answers}
                assert by_id["0"] == {"type": "result", "id": f"0{url}", "data": {"sum": 2}}
                assert by_id["1"]["data"] == "time:now"
                assert (by_id["2"]["type"], by_id["2"]["about"], by_id["2"]["code"]) == ("error", "call", "off_board")
                for wrong in ({"id": "x"}, {"name": "move"}, {"name": "no name", "id": "x"}, {"name": "..", "id": "x"}):
                    await socket.send_json({"type": "call", **wrong})
                    assert (await socket.receive_json())["type"] == "error"
            assert len(made) == 5


async def test_arguments_are_what_the_handler_says() -> None:
    """Types of msgspec, models of Pydantic, also in a list; what does not fit is told, and the handler not called."""
    hub, made = game()
    async with hub:
        assert await call(hub, "join", {"name": "ana", "age": 7}) == {"name": "ANA", "age": 7}
        assert await call(hub, "many", [{"name": "a", "age": 1}] * 2) == 2
        assert await call(hub, "plain", [1, {"a": None}]) == [1, {"a": None}]
        made.clear()
        for name, data, text in (
            ("move", {"x": "one", "y": 1}, "Expected `int`, got `str` - at `$.x`"),
            ("move", None, "Expected `object`, got `null`"),
            ("join", {"name": "ana", "age": -1}, "age: Input should be greater than or equal to 0"),
            ("many", [{"name": "a", "age": 1}, {"name": "b"}], "age: Field required"),
            ("join", 7, "data: Input should be a valid dictionary"),
        ):
            with pytest.raises(RequestError) as refused:
                await call(hub, name, data)
            assert refused.value.code == "bad_arguments"
            assert text in str(refused.value), str(refused.value)
        assert made == []


async def test_a_repeat_is_not_carried_out_again() -> None:
    """It gets the same answer, whether it comes while the first runs or after it; a refusal is an answer, too."""
    hub, made = game()
    async with hub:
        first = await call(hub, "move", {"x": 1, "y": 1}, "k")
        assert await call(hub, "move", {"x": 2, "y": 2}, "k") == first
        assert await asyncio.gather(*[call(hub, "move", {"x": 3, "y": 0}, "l") for _ in range(5)]) == [{"sum": 3}] * 5
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await call(hub, "move", {"x": 10, "y": 0}, "m")
            assert (refused.value.code, refused.value.status) == ("off_board", 409)
            with pytest.raises(HookFailed):
                await call(hub, "move", {"x": -1, "y": 0}, "n")
        assert len(made) == 4
        await call(hub, "move", {"x": 1, "y": 1})
        await call(hub, "move", {"x": 1, "y": 1})
        assert len(made) == 6  # without an id each is another one


async def test_a_refusal_for_now_is_not_kept() -> None:
    """The same call may be made again later, and is carried out then."""
    hub = Hub("memory:")
    tries: list[int] = []

    @hub.call("busy")
    async def busy(_: Call) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise Refused("rate_limited", "not so fast", retry_after_ms=10)
        return len(tries)

    async with hub:
        with pytest.raises(RequestError) as refused:
            await call(hub, "busy", None, "k")
        assert (refused.value.code, refused.value.retry_after_ms) == ("rate_limited", 10)
        assert await call(hub, "busy", None, "k") == 2
        assert await call(hub, "busy", None, "k") == 2


async def test_the_caller_may_go_and_the_call_goes_on() -> None:
    hub = Hub("memory:")
    release, ends = asyncio.Event(), []

    @hub.call("slow")
    async def slow(_: Call) -> str:
        await release.wait()
        ends.append(1)
        return "done"

    async with hub:
        caller = asyncio.ensure_future(call(hub, "slow", None, "k"))
        await eventually(lambda: context_of(hub).calls.in_flight == 1)
        caller.cancel()
        again = asyncio.ensure_future(call(hub, "slow", None, "k"))
        await asyncio.sleep(0)
        release.set()
        assert (await again, ends) == ("done", [1])


async def test_one_that_takes_too_long_is_given_up_with_an_unknown_outcome() -> None:
    hub = Hub("memory:", limits=Limits(call_s=0.05))
    begun: list[int] = []

    @hub.call("slow")
    async def slow(_: Call) -> None:
        begun.append(1)
        await asyncio.sleep(3600)

    async with hub:
        for _ in range(2):
            with pytest.raises(RequestError) as unknown:
                await call(hub, "slow", None, "k")
            assert (unknown.value.code, unknown.value.status) == ("outcome_unknown", 504)
        assert begun == [1]


async def test_permission_and_limits(http: aiohttp.ClientSession) -> None:
    """By the name of the call; how many at once, and how many in a second."""
    limits = Limits(calls_in_flight_per_user_max=2, calls_per_user_burst=6, calls_per_user_per_s=0.001)
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]), limits=limits, trusted=())
    release = asyncio.Event()

    @hub.call("game:*")
    async def play(call: Call) -> str | None:
        if call.name == "game:wait":
            await release.wait()
        return call.user

    async with serving(hub) as urls:
        url, ana = urls[0], bearer(token("ana", rooms={"call": ["game:*"]}))
        assert await post(http, url, "game:move", {}, **ana) == (200, {"id": None, "data": "ana"})
        for name, who in (("other", ana), ("game:move", bearer(token("ben", rooms={"write": ["*"]})))):
            status, told = await post(http, url, name, {}, **who)
            assert (status, told["error"]["code"]) == (403, "forbidden")
        waiting = [asyncio.ensure_future(post(http, url, "game:wait", {}, **ana)) for _ in range(2)]
        await eventually(lambda: context_of(hub).calls.in_flight == 2)
        status, told = await post(http, url, "game:wait", {}, **ana)
        assert (status, told["error"]["code"], told["error"]["retry_after_ms"]) == (429, "too_many_calls", 1000)
        release.set()
        await asyncio.gather(*waiting)
        codes = [(await post(http, url, "game:move", {}, **ana))[0] for _ in range(4)]
        assert codes == [200, 200, 429, 429]


async def test_a_node_that_has_died_leaves_an_unknown_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no second run, on no node; one that lives is waited for."""
    monkeypatch.setattr(module, "LEASE_S", 0.0)
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    runs: list[str] = []

    def node() -> Hub:
        hub = Hub(url)

        @hub.call("move")
        async def move(call: Call) -> str:
            runs.append(str(call.id))
            await asyncio.sleep(0.3)
            return hub._engine.name

        return hub

    async with node() as one, node() as two:
        await eventually(lambda: one._engine.cluster and two._engine.cluster and len(two._engine.cluster) == 1)
        here, there = await asyncio.gather(call(one, "move", None, "k"), call(two, "move", None, "k"))
        assert here == there
        assert runs == ["k"]
        # As the record looks that a node has left which was killed.
        dead = Outcome("running", "0000dead").encoded()
        assert await one._engine.records.swap(Swap(space_of(None, "move", "lost"), "call", "call", None, dead))
        for hub in (one, two):
            with pytest.raises(RequestError) as unknown:
                await call(hub, "move", None, "lost")
            assert unknown.value.code == "outcome_unknown"
        assert runs == ["k"]


async def test_nothing_runs_that_could_not_be_claimed() -> None:
    hub, made = game()
    async with TestHub(hub) as test:
        with test.store.away():
            with pytest.raises(StoreUnavailable):
                await call(hub, "move", {"x": 1, "y": 1}, "k")
            assert made == []
        assert await call(hub, "move", {"x": 1, "y": 1}, "k") == {"sum": 2}


async def test_a_claim_whose_answer_was_lost_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller was told that nothing was done; so its repeat is carried out, once."""
    hub, made = game()
    async with TestHub(hub):
        records = context_of(hub).engine.records
        swap = records.swap

        async def lost(wanted: Swap) -> bool:
            await swap(wanted)
            raise StoreUnavailable("the answer was lost")

        monkeypatch.setattr(records, "swap", lost)
        with pytest.raises(StoreUnavailable):
            await call(hub, "move", {"x": 1, "y": 1}, "k")
        monkeypatch.undo()
        assert made == []
        for _ in range(2):
            assert await call(hub, "move", {"x": 1, "y": 1}, "k") == {"sum": 2}
        assert len(made) == 1


async def test_what_nobody_knows_is_not_carried_out_again_long_after() -> None:
    hub = Hub("memory:", limits=Limits(call_s=1))
    runs = 0

    @hub.call("hang")
    async def hang(_: Call) -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()

    async with TestHub(hub) as test:
        asking = asyncio.ensure_future(call(hub, "hang", None, "k"))
        await test.clock.tick(2)
        with pytest.raises(RequestError, match="within"):
            await asking
        for minutes in (2, 20, 60):
            await test.clock.tick(60 * minutes)
            with pytest.raises(RequestError) as unknown:
                await call(hub, "hang", None, "k")
            assert unknown.value.code == "outcome_unknown", minutes
        assert runs == 1


async def test_the_end_of_the_hub_waits_for_calls() -> None:
    """Which may still publish; new ones are refused."""
    hub, _ = game()
    began, release = asyncio.Event(), asyncio.Event()

    @hub.call("last")
    async def last(_: Call) -> int:
        began.set()
        await release.wait()
        return (await hub.publish("r", 1)).offset

    await hub.start()
    running = asyncio.ensure_future(call(hub, "last", None))
    await began.wait()
    closing = asyncio.ensure_future(hub.close())
    await asyncio.sleep(0)
    with pytest.raises(TrunklineError) as refused:
        await call(hub, "time:now", None)
    assert refused.value.code == "shutting_down"
    release.set()
    assert await running == 1
    await closing


async def test_a_result_that_is_none_is_the_applications_fault(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub("memory:")
    hub.call("object")(lambda _: object())
    hub.call("large")(lambda _: "x" * 70_000)
    async with hub:
        for name in ("object", "large"):
            with caplog.at_level(logging.ERROR, "trunkline"), pytest.raises(HookFailed):
                await call(hub, name, None)
        assert len(caplog.records) == 2


def test_handlers_that_cannot_be() -> None:
    hub = Hub("memory:")

    class Local(msgspec.Struct):
        x: int

    def local(call: Call, data: Local) -> None: ...

    hub.call("a")(lambda call: None)
    for name, function, text in (
        ("a", lambda call: None, "already"),
        ("no name", lambda call: None, "neither"),
        ("b", lambda: None, "0 parameters"),
        ("b", lambda a, b, c: None, "3 parameters"),
        ("b", local, "top of its module"),
        ("b", 7, "no function"),
        (lambda call: None, None, r"@hub\.call"),
    ):
        with pytest.raises(ConfigError, match=text):
            hub.call(name)(function)  # type: ignore[arg-type, type-var]


@pytest.mark.parametrize(
    ("code", "status"), [("Bad", 422), ("internal", 422), ("unauthorized", 422), ("x", 500), ("x", 499), ("", 422)]
)
def test_what_an_application_cannot_refuse_with(code: str, status: int) -> None:
    with pytest.raises(ValueError, match=r"code|status"):
        Refused(code, status=status)


def test_permissions_name_calls() -> None:
    permissions = Permissions(call=("game:*",))
    assert permissions.allows("call", "game:move")
    assert not permissions.allows("call", "move")
