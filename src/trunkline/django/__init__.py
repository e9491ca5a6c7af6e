"""Rooms for Django: `"trunkline.django"` in INSTALLED_APPS, and one setting, `TRUNKLINE`.

    from trunkline.django import publish_on_commit

    publish_on_commit(f"orders:{order.pk}", {"status": "paid"})

Nothing is loaded before it is asked for, since Django's applications must be loaded first.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "PublishedModel": "published",
    "apublish": "rooms",
    "backend": "rooms",
    "get_hub": "rooms",
    "position": "rooms",
    "publish": "rooms",
    "publish_later": "outbox",
    "publish_on_commit": "rooms",
    "relay": "outbox",
    "token_for": "rooms",
    "with_rooms": "asgi",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"trunkline.django has no {name}")
    return getattr(import_module(f"trunkline.django.{_MODULES[name]}"), name)
