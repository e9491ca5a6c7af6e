"""Erasing a user: a job that outlives the process that has begun it."""

from pathlib import Path

import pytest

from tests.support import eventually
from trunkline import Hub
from trunkline.access import erasures
from trunkline.access.erasures import Erasure
from trunkline.errors import RequestError
from trunkline.hub import context_of


async def done(hub: Hub, job: Erasure) -> Erasure:
    await eventually(lambda: is_done(hub, job))
    return await hub.admin.erasure(job.id)


async def is_done(hub: Hub, job: Erasure) -> bool:
    return (await hub.admin.erasure(job.id)).state == "done"


async def has_reports(hub: Hub, reports_max: int) -> bool:
    return len(await hub.admin.erasures()) <= reports_max


async def test_everything_of_a_user_goes() -> None:
    async with Hub("memory:") as hub:
        for n in range(120):
            await hub.publish(f"room-{n:03}", "theirs", sender="ana", id="private")
            await hub.publish(f"room-{n:03}", "stays", sender="ben")
        await hub.publish("other", "stays", sender="ben")
        await hub.mark("room-001", "ana", 2)
        job = await hub.admin.erase("ana", by="root")
        assert (job.state, job.user, job.by) == ("running", "ana", "root")
        assert (await hub.admin.erase("ana")).id == job.id  # it is running
        now = await done(hub, job)
        assert (now.rooms, now.messages, now.marks, now.user, now.unpurged) == (120, 120, 1, None, [])
        for n in (0, 60, 119):
            page = await hub.page(f"room-{n:03}", since="start")
            assert [(one.data, one.sender) for one in page.messages] == [(None, None), ("stays", "ben")]
            assert page.messages[0].id != "private"
            assert (page.redactions[0].redacts, page.redactions[0].erased) == ((1,), True)
        assert (await hub.page("other", since="start")).redactions == ()
        assert "ana" not in str(await hub.admin.erasures())
        assert (await hub.unread("ana", ["room-001"]))[0].seen == 0
        again = await done(hub, await hub.admin.erase("ana"))
        assert (again.messages, again.user_hash) == (0, now.user_hash)


async def test_an_erasure_goes_on_after_a_restart(tmp_path: Path) -> None:
    """From where it stood; the one who ordered it finds it under the same id."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with Hub(url) as hub:
        for n in range(10):
            await hub.publish(f"room-{n}", "theirs", sender="ana")
        engine = context_of(hub).engine
        audit_hash = "h"
        job = Erasure(
            id="1", state="running", user="ana", user_hash=audit_hash, by=None, began_at=1, after="room-3", node="gone"
        )
        await engine.store.note("erasure:1", erasures._encode(job))
    async with Hub(url) as hub:
        now = await done(hub, job)
        assert now.messages == 6
        assert (await hub.page("room-9", since="start")).messages[0].data is None
        assert (await hub.page("room-0", since="start")).messages[0].data == "theirs"


async def test_reports_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "KEPT_MAX", 3)
    async with Hub("memory:") as hub:
        for n in range(6):
            await done(hub, await hub.admin.erase(f"user-{n}"))
        await eventually(lambda: has_reports(hub, 3))
        with pytest.raises(RequestError) as caught:
            await hub.admin.erasure("nothing")
        assert caught.value.code == "not_found"
        with pytest.raises(RequestError):
            await hub.admin.erase("")
