"""A Django site in the process of the tests: configured once, as Django wants it, with a database of its own."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.shortcuts import render
from django.urls import include, path

import django

SECRET_KEY = "of the tests, and of nothing else"
FOLDER = tempfile.TemporaryDirectory(prefix="trunkline-django-")


@cache
def configure() -> None:
    """Configure Django, and make the tables."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY=SECRET_KEY,
        USE_TZ=True,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "trunkline.django",
            "tests.django.shop",
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(FOLDER.name) / "site.db"),
                "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        TRUNKLINE={"STORE": "memory:", "PERMISSIONS": {"read": ["inbox:{user}"], "write": ["inbox:{user}"]}},
        STATIC_URL="static/",
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)


def sign_in(request: HttpRequest) -> JsonResponse:
    from django.contrib.auth import authenticate, login

    user = authenticate(request, username=request.GET["name"], password=request.GET["name"])
    assert user is not None
    login(request, user)
    return JsonResponse({"key": request.session.session_key})


def sign_out(request: HttpRequest) -> JsonResponse:
    from django.contrib.auth import logout

    logout(request)
    return JsonResponse({})


def page(request: HttpRequest) -> Any:
    return render(request, "shop/page.html")


def urls() -> list[Any]:
    from django.contrib import admin

    return [
        path("sign-in", sign_in),
        path("sign-out", sign_out),
        path("page", page),
        path("trunkline/", include("trunkline.django.urls")),
        path("admin/", admin.site.urls),
    ]


class _Lazy(list[Any]):
    """The addresses, which need the applications, and are asked for when these are there."""

    def __iter__(self) -> Any:
        if not len(self):
            self += urls()
        return super().__iter__()

    def __reversed__(self) -> Any:
        iter(self)
        return super().__reversed__()


urlpatterns = _Lazy()


def application() -> Any:
    """The site and its rooms, as an ASGI server has it."""
    from trunkline.django.asgi import with_rooms

    return with_rooms(get_asgi_application())
