"""The users of a test, and their tokens."""

import pytest

from trunkline import Permissions
from trunkline.errors import RequestError
from trunkline.testing.access import Identity, NoMoreTokens, VirtualAccess
from trunkline.testing.hub import TestHub
from trunkline.wire.credentials import Credentials
from trunkline.wire.request_head import RequestHead


def brings(token: str | None) -> Credentials:
    return Credentials(token, None, RequestHead("", [], {}), "")


async def test_a_token_is_the_user(hub: TestHub) -> None:
    access = hub._context.access
    assert isinstance(access, VirtualAccess)
    ada = Identity(access, hub.clock, "ada", Permissions(read=("{user}:*",)), 60)
    token = ada.get_token()
    assert ada.get_token() == token
    assert access.asks(brings(token))
    assert not access.asks(brings(None))  # of a hub without authentication nobody else is asked
    grant = access.grant_now(brings(token))
    assert grant is not None
    assert (grant.user, grant.permissions.read) == ("ada", ("ada:*",))
    await hub.clock.tick(61)
    with pytest.raises(RequestError, match="expired"):
        access.grant_now(brings(token))
    assert ada.get_token() != token


async def test_a_token_that_is_not_renewed(hub: TestHub) -> None:
    access = hub._context.access
    assert isinstance(access, VirtualAccess)
    ada = Identity(access, hub.clock, "ada", renews=False)
    ada.get_token()
    ada.expire()
    with pytest.raises(NoMoreTokens):
        ada.get_token()
