"""The outbox where transactions run side by side: PostgreSQL and MariaDB, by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

from tests.interop.databases import mariadb, postgresql
from tests.outbox.contract import log
from tests.outbox.test_sqlalchemy import SqlAlchemyContract

__all__ = ["log"]  # a fixture


@pytest.fixture(scope="module")
def postgresql_engine() -> Iterator[Engine]:
    with postgresql() as port:
        engine = create_engine(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", pool_size=10)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def mariadb_engine() -> Iterator[Engine]:
    with mariadb() as port:
        engine = create_engine(f"mysql+pymysql://root@127.0.0.1:{port}/test?charset=utf8mb4", pool_size=10)
        yield engine
        engine.dispose()


class TestOnPostgresql(SqlAlchemyContract):
    """Its transactions see what was committed when a statement begins."""

    @pytest.fixture
    def engine(self, postgresql_engine: Engine) -> Engine:
        return postgresql_engine


class TestOnMariadb(SqlAlchemyContract):
    """Its transactions see what was committed when they began."""

    @pytest.fixture
    def engine(self, mariadb_engine: Engine) -> Engine:
        return mariadb_engine
