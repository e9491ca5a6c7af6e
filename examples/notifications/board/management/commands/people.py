"""`manage.py people`: somebody to write to."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Make users for a try."""

    help = "Makes the users ada, bob and carla (who may use the admin); each name is its own password."

    def handle(self, *_: object, **__: object) -> None:
        users = get_user_model().objects
        for name in ("ada", "bob", "carla"):
            if not users.filter(username=name).exists():
                make = users.create_superuser if name == "carla" else users.create_user
                make(name, password=name)
