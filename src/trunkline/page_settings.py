"""What an application says in its pages to the client (client/src/page.js): where the server is, and who asks."""

from __future__ import annotations

import msgspec


def page_settings(url: str, token: str | None = None, token_url: str | None = None) -> str:
    """Return `<script type="application/json" id="trunkline">…</script>`, safe to stand in a page as it is.

    Args:
        url: Where the rooms are, for browsers.
        token: The token with which the page connects.
        token_url: Where the page gets its next token.
    """
    given = {"url": url, "token": token, "token_url": token_url}
    text = msgspec.json.encode({name: value for name, value in given.items() if value is not None}).decode()
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="trunkline">{text}</script>'
