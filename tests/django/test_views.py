"""What a page is given: the client's address, and tokens."""

from __future__ import annotations

from typing import Any

import jwt


def test_a_user_gets_a_token_and_nobody_else_does(ada: Any) -> None:
    from django.test import Client

    browser = Client()
    assert browser.get("/trunkline/token").status_code == 401
    browser.force_login(ada)
    answer = browser.get("/trunkline/token")
    assert "no-cache" in answer["Cache-Control"]
    claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["rooms"]) == (
        str(ada.pk),
        {"read": [f"inbox:{ada.pk}"], "write": [f"inbox:{ada.pk}"]},
    )
    assert browser.session.session_key not in claims["jti"]
    assert browser.post("/trunkline/token").status_code == 405


def test_the_page_of_a_site_with_rooms_of_its_own_needs_no_token(ada: Any) -> None:
    from django.test import Client

    browser = Client()
    browser.force_login(ada)
    text = browser.get("/page").content.decode()
    assert '<script type="application/json" id="trunkline">{"url":"/realtime"}</script>' in text
    assert 'from "/realtime/client/page.js"' in text
