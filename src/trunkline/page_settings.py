"""What an application says in its pages to the client (client/src/page.js): where the server is, and who asks."""

from __future__ import annotations

import msgspec


def page_settings(url: str, token: str | None = None, token_url: str | None = None) -> str:
    """Return the JSON of `<script type="application/json" id="trunkline">`, which nothing in it can end.

    Args:
        url: Where the rooms are, for browsers.
        token: The token with which the page connects.
        token_url: Where the page gets its next token.
    """
    given = {"url": url, "token": token, "token_url": token_url}
    text = msgspec.json.encode({name: value for name, value in given.items() if value is not None}).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
