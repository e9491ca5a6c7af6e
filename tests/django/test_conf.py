"""The setting `TRUNKLINE`, and what `manage.py check` says of it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "is a dict"),
        ({}, "either STORE"),
        ({"STORE": "memory:", "URL": "http://localhost:8001"}, "either STORE"),
        ({"STORE": "memory:", "PERMISIONS": {}}, "PERMISIONS"),
        ({"STORE": 7}, "STORE"),
        ({"STORE": "memory:", "PATH": "realtime"}, "PATH"),
        ({"STORE": "memory:", "PATH": "/"}, "PATH"),
    ],
)
def test_a_wrong_setting_is_named(given: Any, text: str) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.test.utils import override_settings

    from trunkline.django.checks import check_settings
    from trunkline.django.conf import get_settings

    with override_settings(TRUNKLINE=given):
        with pytest.raises(ImproperlyConfigured, match=text):
            get_settings()
        [error] = check_settings(None)
        assert error.id == "trunkline.E001"


def test_what_is_not_as_it_should_be_is_a_warning() -> None:
    from django.test.utils import override_settings

    from trunkline.django.checks import check_settings

    def ids(**given: Any) -> list[str]:
        with override_settings(TRUNKLINE=given):
            return [message.id for message in check_settings(None)]

    assert ids(STORE="memory:", PERMISSIONS={"read": ["a"]}) == []
    assert ids(STORE="memory:") == ["trunkline.W001"]
    assert ids(STORE="sqlite:///a.db", ANONYMOUS={"read": ["a"]}) == ["trunkline.W002"]
    with override_settings(INSTALLED_APPS=["django.contrib.staticfiles", "trunkline.django"]):
        assert ids(STORE="memory:", PERMISSIONS={"read": ["a"]}) == ["trunkline.W003"]


def of_staff(user: Any) -> dict[str, list[str]]:
    return {"read": ["desk"] if user.is_staff else [], "write": ["inbox:{user}"]}


def test_permissions_by_a_function(ada: Any) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.test.utils import override_settings

    from trunkline import Permissions
    from trunkline.django.conf import permissions_of

    name = f"{__name__}.of_staff"
    with override_settings(TRUNKLINE={"STORE": "memory:", "PERMISSIONS": name}):
        assert permissions_of(ada) == Permissions(write=(f"inbox:{ada.pk}",))
        ada.is_staff = True
        assert permissions_of(ada) == Permissions(read=("desk",), write=(f"inbox:{ada.pk}",))
    for wrong, text in (("no.such.function", "no.such|No module"), ({"fly": ["a"]}, "fly")):
        given = {"STORE": "memory:", "PERMISSIONS": wrong}
        with override_settings(TRUNKLINE=given), pytest.raises(ImproperlyConfigured, match=text):
            permissions_of(ada)


def test_a_hub_that_cannot_be_made_names_the_setting() -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.test.utils import override_settings

    from trunkline.django.rooms import get_hub

    for given in ({"STORE": "nowhere:"}, {"STORE": "memory:", "HUB": {"speed": 9}}, {"URL": "http://localhost:1"}):
        with override_settings(TRUNKLINE=given), pytest.raises(ImproperlyConfigured, match="TRUNKLINE"):
            get_hub()
