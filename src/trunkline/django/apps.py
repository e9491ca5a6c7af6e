"""Django's description of this application."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.signals import setting_changed


class TrunklineConfig(AppConfig):
    """Rooms."""

    name = "trunkline.django"
    label = "trunkline"
    verbose_name = "Trunkline"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from trunkline.django import checks, conf, logout, sessions  # noqa: F401, PLC0415 - they need the applications

        setting_changed.connect(conf.forget)
        user_logged_in.connect(sessions.name_session)
        user_logged_out.connect(logout.end_session)
