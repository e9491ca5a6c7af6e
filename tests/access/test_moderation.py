"""Who may redact what; and what the audit log says of it."""

from typing import Any

import pytest

from trunkline import Grant, Hub
from trunkline.core.grant import Permissions
from trunkline.core.limits import Limits
from trunkline.errors import RequestError
from trunkline.hub import context_of


def grant(user: str | None, **permissions: tuple[str, ...]) -> Grant:
    return Grant(user=user, permissions=Permissions(**permissions))


async def refused(hub: Hub, who: Grant, room: str, offsets: list[int]) -> str | None:
    try:
        await context_of(hub).moderation.check_may_redact(who, room, offsets)
    except RequestError as error:
        return error.code
    return None


async def test_who_may_redact() -> None:
    async with Hub("memory:") as hub:
        await hub.publish("chat:1", "1", sender="ana")
        await hub.publish("chat:1", "2", sender="ben")
        moderator, author = grant("mod", redact=("chat:*",)), grant("ana", redact_own=("chat:*",))
        assert await refused(hub, moderator, "chat:1", [1, 2]) is None
        assert await refused(hub, moderator, "other", [1]) == "forbidden"
        assert await refused(hub, author, "chat:1", [1]) is None
        assert await refused(hub, author, "chat:1", [2]) == "forbidden"
        assert await refused(hub, author, "chat:1", [1, 2]) == "forbidden"
        assert await refused(hub, author, "chat:1", [99]) == "forbidden"
        assert await refused(hub, author, "other", [1]) == "forbidden"
        assert await refused(hub, grant("root", admin=("*",)), "chat:1", [1, 2]) is None
        assert await refused(hub, grant("ana", read=("*",), write=("*",)), "chat:1", [1]) == "forbidden"
        assert await refused(hub, grant(None, redact_own=("*",)), "chat:1", [1]) == "forbidden"


async def test_an_author_has_a_limited_time() -> None:
    async with Hub("memory:", limits=Limits(redact_own_s=60.0)) as hub:
        await hub.publish("r", "1", sender="ana")
        author = grant("ana", redact_own=("*",))
        assert await refused(hub, author, "r", [1]) is None
        store = context_of(hub).engine.store.inner
        log = store._logs["r"]  # type: ignore[attr-defined]
        entry = log.messages[1]
        import msgspec

        log.messages[1] = entry._replace(message=msgspec.structs.replace(entry.message, at=entry.message.at - 61_000))
        assert await refused(hub, author, "r", [1]) == "forbidden"
        assert await refused(hub, grant("mod", redact=("*",)), "r", [1]) is None


async def test_the_application_may_decide() -> None:
    async with Hub("memory:") as hub:
        await hub.publish("r", "1", sender="ana")
        asked: list[Any] = []

        @hub.authorize
        def decide(who: Grant, action: str, room: str) -> bool:
            asked.append((who.user, action, room))
            return action == "redact_own"

        assert await refused(hub, grant("ana"), "r", [1]) is None
        assert await refused(hub, grant("ben"), "r", [1]) == "forbidden"
        assert asked[:2] == [("ana", "redact", "r"), ("ana", "redact_own", "r")]


async def test_offsets_of_an_epoch_that_is_over_are_refused() -> None:
    async with Hub("memory:") as hub:
        first = await hub.publish("r", "1")
        await hub.admin.new_epochs()
        assert (await hub.publish("r", "2")).epoch != first.epoch
        assert (await hub.admin.redact("r", 1, epoch=first.epoch)).redacted == [1]  # it is still that message
        with pytest.raises(RequestError) as caught:
            await hub.admin.redact("r", 2, epoch=first.epoch)
        assert caught.value.code == "bad_position"
        await hub.admin.delete("r")
        await hub.publish("r", "another")
        with pytest.raises(RequestError):
            await hub.admin.redact("r", 1, epoch=first.epoch)
        assert (await hub.page("r")).messages[0].data == "another"


async def test_what_is_corrected_is_in_the_audit_log() -> None:
    """Who, what and how much, and never the data; what did nothing is not."""
    async with Hub("memory:") as hub:
        await hub.publish("r", "secret")
        await hub.publish("r", "2")
        await hub.admin.redact("r", [1, 2], by="mod")
        await hub.admin.redact("r", [1], by="mod")
        await hub.admin.delete("r", by="root")
        await hub.admin.delete("r", by="root")
        found = (await context_of(hub).engine.store.read("$audit", 0, 10, 1 << 20)).messages
        assert [(one.data["action"], one.data["by"], one.data["room"], one.data["count"]) for one in found] == [
            ("redact", "mod", "r", 2), ("delete", "root", "r", 3),
        ]  # fmt: skip
        assert "secret" not in str([one.data for one in found])


@pytest.mark.parametrize("wrong", [[], [0], list(range(1, 1002))])
async def test_offsets_that_cannot_be_are_refused(wrong: list[int]) -> None:
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError):
            await hub.admin.redact("r", wrong)
        with pytest.raises(RequestError):
            await hub.admin.redact("$audit", 1)
