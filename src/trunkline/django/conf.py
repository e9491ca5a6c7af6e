"""The setting `TRUNKLINE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from trunkline.backend import as_permissions, derived_secret
from trunkline.core.grant import Permissions
from trunkline.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="upper"):
    """What `TRUNKLINE` may say. Either `STORE` or `URL` says where the rooms are.

    Attributes:
        store: The rooms are in this process (ASGI), and this is the URL of their log.
        url: The rooms are on a server beside this site (WSGI), which is reached here.
        public_url: The same, as browsers reach it.
        path: With STORE: where the rooms are on this site.
        secret: What tokens are signed with; made of `SECRET_KEY` by default.
        permissions: What a user may do: patterns by action, in which `{user}` is the user's primary key, or the dotted
            path of a function that gets the user and returns such, or a `Permissions`.
        anonymous: The same of clients without a user, as patterns; nothing by default.
        origins: Of pages of other sites that may use the rooms; for a server beside this one, of this site's.
        hub: With STORE: more arguments of `Hub`.
        publish_timeout_s: How long a request waits for the log.
        token_s: How long a token lasts, in seconds.
        session_check_s: How often the sessions of streams are looked at, in seconds.
    """

    store: str | None = None
    url: str | None = None
    public_url: str | None = None
    path: str = "/realtime"
    secret: str | None = None
    permissions: str | dict[str, list[str]] = {}
    anonymous: dict[str, list[str]] = {}
    origins: list[str] = []
    hub: dict[str, Any] = {}
    publish_timeout_s: float = 2.0
    token_s: float = 3600.0
    session_check_s: float = 60.0

    @property
    def key(self) -> str:
        """What tokens are signed with."""
        return self.secret or derived_secret(settings.SECRET_KEY)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the setting.

    Raises:
        ImproperlyConfigured: It is not as it should be; the text says where.
    """
    given = getattr(settings, "TRUNKLINE", None)
    if not isinstance(given, dict):
        raise ImproperlyConfigured('TRUNKLINE is a dict, such as {"STORE": "sqlite:///rooms.db?shared=1"}')
    try:
        found = msgspec.convert(_listed(given), Settings)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"TRUNKLINE: {error}".replace("`$.", "`")) from None
    if (found.store is None) is (found.url is None):
        raise ImproperlyConfigured("TRUNKLINE has either STORE (rooms in this process) or URL (a server beside it)")
    if not found.path.startswith("/") or not found.path.strip("/"):
        raise ImproperlyConfigured(f"TRUNKLINE: PATH is a path such as /realtime, not {found.path!r}")
    return found


when_changed: list[Callable[[], None]] = []
"""Called when a test has changed a setting."""


def forget(*, setting: str, **_: object) -> None:
    """Read the settings anew (a receiver of `setting_changed`)."""
    if setting in ("TRUNKLINE", "SECRET_KEY"):
        get_settings.cache_clear()
        for call in when_changed:
            call()


def permissions_of(user: Any) -> Permissions:
    """Return what a user of Django may do.

    Raises:
        ImproperlyConfigured: The function cannot be imported, or returns something else.
    """
    given: Any = get_settings().permissions
    if isinstance(given, str):
        try:
            given = import_string(given)(user)
        except ImportError as error:
            raise ImproperlyConfigured(f"TRUNKLINE: PERMISSIONS: {error}") from None
    return _permissions(given, "PERMISSIONS").for_user(str(user.pk))


def permissions_of_anonymous() -> Permissions | None:
    """Return what a client without a user may do; None if it is not let in."""
    given = get_settings().anonymous
    return _permissions(given, "ANONYMOUS") if given else None


def _permissions(given: Permissions | Mapping[str, Sequence[str]], name: str) -> Permissions:
    try:
        return as_permissions(given)
    except ConfigError as error:
        raise ImproperlyConfigured(f"TRUNKLINE: {name}: {error}") from None


def _listed(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings with lists where tuples were written."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
