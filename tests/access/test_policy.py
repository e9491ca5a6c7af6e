"""The order and the moment of questions: who is it, may it, and is that still so."""

import asyncio
import logging
from typing import Any

import pytest

from trunkline.access.policy import Access
from trunkline.core.grant import EVERYTHING, UNAUTHENTICATED, Grant, Permissions
from trunkline.core.limits import Limits
from trunkline.errors import ConfigError, HookFailed, RequestError
from trunkline.observe.counters import Counters
from trunkline.testing.clock import ManualClock


def access(clock: ManualClock | None = None, limits: Limits | None = None, **options: Any) -> Access:
    return Access(limits or Limits(), Counters(), clock or ManualClock(), **options)


async def test_without_authentication_every_client_may_do_everything_but_administer() -> None:
    made = access()
    assert not made.is_required
    assert made.grant_now(made.nothing) is UNAUTHENTICATED
    await made.check_all(UNAUTHENTICATED, [("read", "r"), ("write", "r"), ("signal", "r"), ("presence", "r")])
    for need in (("admin", "*"), ("read", "$overview"), ("write", "$overview")):
        with pytest.raises(RequestError) as caught:
            await made.check_all(UNAUTHENTICATED, [need])
        assert caught.value.code == "forbidden"


async def test_a_permission_is_asked_of_the_grant() -> None:
    made = access()
    grant = Grant(user="ana", permissions=Permissions(read=("a:*",)))
    await made.check(grant, "read", "a:1")
    with pytest.raises(RequestError) as caught:
        await made.check(grant, "write", "a:1")
    assert caught.value.code == "forbidden"
    assert made.permits_all_now(grant, [("read", "a:1"), ("write", "a:1")]) is False


async def test_a_hook_is_asked_instead_but_not_about_administration() -> None:
    made, asked = access(), []

    def authorize(grant: Grant, action: str, room: str) -> bool:
        asked.append((action, room))
        return True

    made.authorize_hook = authorize
    grant = Grant(user="ana")
    assert made.permits_now(grant, "read", "r") is None
    await made.check_all(grant, [("read", "r"), ("write", "r")])
    assert asked == [("read", "r"), ("write", "r")]
    with pytest.raises(RequestError):
        await made.check(grant, "admin", "*")
    assert len(asked) == 2


async def test_a_grant_that_has_ended_asks_no_hook() -> None:
    clock = ManualClock()
    made, asked = access(clock), []

    def authorize(_: Grant, action: str, __: str) -> bool:
        asked.append(action)
        return True

    made.authorize_hook = authorize
    grant = Grant(user="ana", permissions=EVERYTHING, expires_at=clock.wall_ms() / 1000 + 10)
    await made.check_all(grant, [("read", "r")])
    clock.tick(11)
    with pytest.raises(RequestError) as caught:
        await made.check_all(grant, [("read", "r")])
    assert (caught.value.code, len(asked)) == ("token_expired", 1)


async def test_a_hook_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    made = access()

    def authorize(*_: object) -> bool:
        raise KeyError("a mistake of the application")

    made.authorize_hook = authorize
    with caplog.at_level(logging.ERROR), pytest.raises(HookFailed):
        await made.check(Grant(user="ana"), "read", "r")
    assert "authorize failed" in caplog.text


async def test_a_hook_that_does_not_answer_refuses() -> None:
    made = access(limits=Limits(auth_s=0.01))

    async def authorize(*_: object) -> bool:
        return bool(await asyncio.Event().wait())

    made.authorize_hook = authorize
    with pytest.raises(HookFailed):
        await made.check(Grant(user="ana"), "read", "r")


async def test_an_authenticate_hook_that_knows_no_user() -> None:
    made = access()
    made.authenticate_hook = lambda _: None
    assert made.is_required
    assert made.grant_now(made.nothing) is None
    with pytest.raises(RequestError) as caught:
        await made.authenticate(made.nothing)
    assert caught.value.code == "unauthorized"


def test_a_ticket_is_worth_its_grant_once() -> None:
    made = access()
    made.authenticate_hook = lambda _: None
    ticket = made.issue_ticket(Grant(user="ana"))
    brought = made.nothing._replace(ticket=ticket)
    grant = made.grant_now(brought)
    assert grant is not None
    assert grant.user == "ana"
    with pytest.raises(RequestError) as caught:
        made.grant_now(brought)
    assert caught.value.code == "unauthorized"


def test_a_cookie_and_every_origin_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="list the origins"):
        access(cookie="session", origins=["*"])


def test_publishes_are_counted_by_user() -> None:
    made = access(limits=Limits(publishes_per_user_per_s=1.0, publishes_per_user_burst=2))
    ana, root = Grant(user="ana"), Grant(user="root", permissions=Permissions(admin=("*",)))
    for _ in range(2):
        made.check_publish_rate(ana, "9.9.9.9")
    with pytest.raises(RequestError) as caught:
        made.check_publish_rate(ana, "8.8.8.8")
    assert caught.value.code == "rate_limited"
    for _ in range(10):
        made.check_publish_rate(root, "9.9.9.9")
        made.check_publish_rate(ana, None)  # from a trusted address
