"""OAuth 2.0 and OpenID Connect: a page signs in at a provider, and its access token is good for the rooms.

    PROVIDER=https://id.example CLIENT=spa AUDIENCE=https://rooms.example trunkline run examples.oauth.app:app

The provider issues access tokens that are JWTs (RFC 9068), by the authorization code flow with PKCE (RFC 7636); it
publishes its keys, which Trunkline fetches, also when they change; and it says when a session has ended (OpenID Connect
Back-Channel Logout), which ends the streams of that user.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from trunkline import Hub, Issuer, JwtAuth, Permissions
from trunkline.starlette import Rooms

PROVIDER = os.environ["PROVIDER"]  # its issuer identifier, letter for letter
CLIENT = os.environ["CLIENT"]
AUDIENCE = os.environ["AUDIENCE"]
ENDED = "http://schemas.openid.net/event/backchannel-logout"

issuer = Issuer(jwks_url=f"{PROVIDER}/jwks", issuer=PROVIDER, audience=AUDIENCE)
everyone = Permissions(read=("chat:*",), write=("chat:*",), presence=("chat:*",))
hub = Hub("memory:", auth=JwtAuth([issuer], permissions=everyone), pages=False)
keys = jwt.PyJWKClient(f"{PROVIDER}/jwks")


class Logouts:
    """Verifies logout tokens (OpenID Connect Back-Channel Logout 1.0, section 2.6)."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}  # by their ids, until when

    def user_of(self, token: str) -> str:
        """Return whose session has ended.

        Raises:
            PyJWTError: It is no logout token of our provider, or was used before.
        """
        if not str(jwt.get_unverified_header(token).get("typ")).endswith("logout+jwt"):
            raise jwt.InvalidTokenError("its type is not logout+jwt")
        claims: dict[str, Any] = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=["RS256", "ES256"],
            issuer=PROVIDER,
            audience=CLIENT,
            options={"require": ["iss", "aud", "iat", "exp", "jti", "sub", "events"]},
        )
        if ENDED not in claims["events"] or "nonce" in claims:
            raise jwt.InvalidTokenError("it does not say that a session has ended")
        now = time.time()
        self._seen = {name: until for name, until in self._seen.items() if until > now}
        if claims["jti"] in self._seen:
            raise jwt.InvalidTokenError("it was used before")
        self._seen[claims["jti"]] = claims["exp"]
        return str(claims["sub"])


logouts = Logouts()


async def session_ended(request: Request) -> Response:
    """The provider says that a user has signed out there."""
    form = parse_qs((await request.body()).decode())
    try:
        user = await asyncio.to_thread(logouts.user_of, form.get("logout_token", [""])[0])
    except jwt.PyJWTError as error:
        return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
    await hub.revoke(user=user)
    return Response(headers={"Cache-Control": "no-store"})


async def settings(_: Request) -> Response:
    return JSONResponse({"provider": PROVIDER, "client": CLIENT})


async def page(_: Request) -> Response:
    return FileResponse(Path(__file__).with_name("index.html"))


app = Starlette(
    routes=[
        Route("/", page),
        Route("/settings", settings),
        Route("/session-ended", session_ended, methods=["POST"]),
    ]
)
rooms = Rooms(app, hub)
