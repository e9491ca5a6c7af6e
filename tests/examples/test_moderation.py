"""examples/moderation: what is rude is softened, what is spam is refused, and nothing of it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from examples.moderation import app as example

from trunkline.client import ClientError
from trunkline.testing import TestHub


@pytest.fixture
async def chat() -> AsyncIterator[TestHub]:
    example.written.clear()
    example.count.clear()
    async with TestHub(app=example.app) as hub:
        yield hub


async def test_rude_words_are_softened(chat: TestHub) -> None:
    ana = await chat.reader("general")
    await ana.publish({"text": "you IDIOT"})
    assert (await ana.expect({"text": "you *****"})).offset == 1


async def test_newcomers_post_no_links(chat: TestHub) -> None:
    ana = await chat.reader("general", user="ana")
    with pytest.raises(ClientError) as refused:
        await ana.publish({"text": "buy at https://spam.example"})
    assert refused.value.code == "link"
    for n in range(example.SETTLED):
        await ana.publish({"text": f"{n}"})
    await ana.publish({"text": "see https://example.com"})
    assert [message.data["text"] for message in chat.stored("general")] == ["0", "1", "2", "see https://example.com"]


async def test_what_is_no_text_is_refused(chat: TestHub) -> None:
    ana = await chat.reader("general")
    for data in ("text", {"text": 7}, None):
        with pytest.raises(ClientError) as refused:
            await ana.publish(data)
        assert refused.value.code == "no_text"
