"""What `manage.py check` says of the setting `TRUNKLINE`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from trunkline.django.conf import get_settings


@checks.register
def check_settings(*_: Any, **__: Any) -> list[checks.CheckMessage]:
    """Check the setting."""
    try:
        found = get_settings()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="trunkline.E001")]
    messages: list[checks.CheckMessage] = []
    if not found.permissions and not found.anonymous:
        messages.append(
            checks.Warning(
                "users have no permission to read any room",
                hint='TRUNKLINE = {"PERMISSIONS": {"read": ["inbox:{user}"]}}, or the path of a function',
                id="trunkline.W001",
            )
        )
    if found.store is not None and found.store.startswith("sqlite:") and "shared=1" not in found.store:
        messages.append(
            checks.Warning(
                "only one process may use the log",
                hint="STORE: add ?shared=1, so that commands, tasks and several workers may publish, too",
                id="trunkline.W002",
            )
        )
    if found.url is not None and settings.configured:
        try:
            reverse("trunkline:token")
        except NoReverseMatch:
            messages.append(
                checks.Warning(
                    "pages cannot renew their tokens, and are closed when the first ends",
                    hint='urlpatterns: path("trunkline/", include("trunkline.django.urls"))',
                    id="trunkline.W004",
                )
            )
    apps = list(settings.INSTALLED_APPS)
    static = "django.contrib.staticfiles"
    ours = [name for name in apps if name.startswith("trunkline.django")]
    if found.store is not None and static in apps and ours and apps.index(ours[0]) > apps.index(static):
        messages.append(
            checks.Warning(
                "manage.py runserver does not serve the rooms",
                hint=f"INSTALLED_APPS: put {ours[0]} before {static}",
                id="trunkline.W003",
            )
        )
    return messages
