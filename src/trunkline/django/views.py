"""The view that gives a page its next token."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from trunkline.django.rooms import token_for
from trunkline.django.sessions import named


def token_of(request: Any) -> str | None:
    """Return a token for the user of a request; None if it has none. It ends with the session, when that is ended."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    return token_for(user, token_id=named(request.session)[0] if request.session.session_key else None)


@never_cache
@require_safe
def token(request: HttpRequest) -> JsonResponse:
    """Answer with a token for the user of the request; with 401 if it has none."""
    found = token_of(request)
    if found is None:
        return JsonResponse({"error": {"code": "unauthorized", "message": "log in"}}, status=401)
    return JsonResponse({"token": found})
