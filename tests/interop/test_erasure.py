"""A user is erased in 10,000 rooms while nodes are killed: what tests/nodes tries with a thousand."""

import pytest

from tests.nodes import test_corrections as suite

store, http = suite.store, suite.http
pytestmark = pytest.mark.usefixtures("_many_rooms")


@pytest.fixture
def _many_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "ROOMS", 10_000)


test_an_erased_user_is_nowhere_after_a_node_was_killed = suite.test_an_erased_user_is_nowhere_after_a_node_was_killed
