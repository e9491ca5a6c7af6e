"""`{% load trunkline %}`: what a page says to the client."""

from __future__ import annotations

from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString, mark_safe

from django import template
from trunkline.django.conf import get_settings
from trunkline.django.rooms import public_url
from trunkline.django.views import token_of
from trunkline.page_settings import page_settings

register = template.Library()


@register.simple_tag(takes_context=True)
def trunkline(context: Any) -> SafeString:
    """Say where the rooms are and, of a server beside this site, who the user is: `{% trunkline %}`."""
    token = token_url = None
    if get_settings().store is None:
        request = context.get("request")
        token = None if request is None else token_of(request)
        try:
            token_url = reverse("trunkline:token")
        except NoReverseMatch:  # the page's token is all that there is
            token_url = None
    return mark_safe(page_settings(public_url(), token, token_url))  # noqa: S308 - safe to stand in a page


@register.simple_tag
def trunkline_client() -> str:
    """Return where the client is: `import { client } from "{% trunkline_client %}"`."""
    return f"{public_url()}/client/page.js"
