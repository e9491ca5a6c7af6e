"""Orders of administrators on one node; tests/nodes has them on several."""

from pathlib import Path

import pytest

from trunkline import Grant, Hub
from trunkline.core.grant import EVERYTHING
from trunkline.errors import RequestError


class Connection:
    def __init__(self, hub: Hub, user: str, token_id: str | None = None) -> None:
        self.grant = Grant(user=user, permissions=EVERYTHING, issued_at=1.0, token_id=token_id)
        self.session = hub._engine.connections.new_session()
        self.told: list[str] = []
        hub._access.registry.add(self)

    def dismiss(self, error: RequestError) -> None:
        self.told.append(error.code)

    def recheck(self) -> None:
        self.told.append("recheck")

    def renewed(self, grant: Grant) -> None:
        self.told.append("renewed")


async def test_only_the_connections_of_the_user_are_meant() -> None:
    async with Hub("memory:") as hub:
        ana, other, ben = Connection(hub, "ana"), Connection(hub, "ana"), Connection(hub, "ben")
        assert await hub.recheck("ana") == (2, [])
        assert await hub.disconnect("ana") == (2, [])
        assert await hub.disconnect("eve") == (0, [])
        assert ana.told == other.told == ["recheck", "disconnected"]
        assert ben.told == []


async def test_a_revoked_token_ends_its_connections_and_no_others() -> None:
    async with Hub("memory:") as hub:
        one, other = Connection(hub, "ana", "first"), Connection(hub, "ana", "second")
        assert await hub.revoke(token_id="first") == (1, [])
        assert (one.told, other.told) == (["revoked"], [])
        assert hub._access.revocations.refuses(one.grant)
        assert not hub._access.revocations.refuses(other.grant)
        await hub.revoke(user="ana")
        assert other.told == ["revoked"]


async def test_revocations_are_read_again_from_the_log(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    async with Hub(url) as hub:
        await hub.revoke(token_id="stolen")
    async with Hub(url) as hub:
        assert hub._access.revocations.refuses(Grant(user="ana", token_id="stolen"))
        assert not hub._access.revocations.refuses(Grant(user="ana", token_id="fresh"))


async def test_a_newer_token_goes_to_its_session_only() -> None:
    async with Hub("memory:") as hub:
        ana = Connection(hub, "ana")
        assert await hub._administration.renew(ana.session, Grant(user="ana", expires_at=2e9))
        assert not await hub._administration.renew(ana.session, Grant(user="ben"))
        assert not await hub._administration.renew("nowhere-1", Grant(user="ana"))
        assert ana.told == ["renewed"]


async def test_a_revocation_names_a_user_or_a_token() -> None:
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError, match="name the user or the token_id"):
            await hub.revoke()
