"""The outbox by Django's ORM where transactions run side by side: PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from tests.django.site import configure
from tests.django.test_outbox import DjangoContract
from tests.interop.databases import mariadb, postgresql
from tests.outbox.contract import log

__all__ = ["log"]  # a fixture

# Django's backend for MySQL asks for mysqlclient, which is compiled; this is the same interface.
pymysql.version_info = (2, 2, 1, "final", 0)
pymysql.install_as_MySQLdb()


def connect(alias: str, settings: dict[str, Any]) -> None:
    """Give Django one more database, with the tables of the outbox."""
    from django.core.management import call_command
    from django.db import connections

    defaults = dict(connections["default"].settings_dict) | {"OPTIONS": {}}
    connections.databases[alias] = defaults | settings
    call_command("migrate", "trunkline", database=alias, verbosity=0)


@pytest.fixture(scope="module")
def _postgresql() -> Iterator[None]:
    configure()
    with postgresql() as port:
        engine = "django.db.backends.postgresql"
        connect("pg", {"ENGINE": engine, "NAME": "postgres", "USER": "postgres", "HOST": "127.0.0.1", "PORT": port})
        yield


@pytest.fixture(scope="module")
def _mariadb() -> Iterator[None]:
    configure()
    with mariadb() as port:
        engine = "django.db.backends.mysql"
        connect("maria", {"ENGINE": engine, "NAME": "test", "USER": "root", "HOST": "127.0.0.1", "PORT": port})
        yield


class _Emptied(DjangoContract):
    @pytest.fixture(autouse=True)
    def _empty(self) -> Iterator[None]:
        yield
        from django.db import connections

        from trunkline.django.models import OutboxMessage

        OutboxMessage.objects.using(self.using).all().delete()
        connections[self.using].close()


@pytest.mark.usefixtures("_postgresql")
class TestOnPostgresql(_Emptied):
    """Read committed."""

    using = "pg"


@pytest.mark.usefixtures("_mariadb")
class TestOnMariadb(_Emptied):
    """Read committed, as Django asks of it."""

    using = "maria"
