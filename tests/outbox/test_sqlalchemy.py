"""The outbox of SQLAlchemy, on SQLite; on PostgreSQL and MariaDB: tests/interop/test_outbox.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, create_engine, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.outbox.contract import Log, OutboxContract, Write, log, run_all
from trunkline.outbox.sqlalchemy import Outbox, Waiting

__all__ = ["log"]  # a fixture


class SqlAlchemyContract(OutboxContract):
    """A subclass has a fixture `engine`."""

    @pytest.fixture
    def tables(self, engine: Engine) -> Outbox:
        metadata = MetaData()
        outbox = Outbox(metadata)
        metadata.drop_all(engine)
        metadata.create_all(engine)
        return outbox

    @pytest.fixture
    def begin(self, engine: Engine, tables: Outbox) -> Callable[[], AbstractContextManager[Write]]:
        @contextmanager
        def begin() -> Iterator[Write]:
            with Session(engine) as session, session.begin():
                yield partial(tables.publish_later, session)

        return begin

    @pytest.fixture
    def outbox(self, engine: Engine, tables: Outbox) -> Waiting:
        return Waiting(tables, engine)

    def test_locks_that_a_migration_has_not_made_are_made(
        self, engine: Engine, tables: Outbox, begin: Callable[[], AbstractContextManager[Write]], outbox: Waiting
    ) -> None:
        with engine.begin() as connection:
            connection.execute(delete(tables.locks))
        ready = threading.Barrier(4)

        def write_one(n: int) -> None:
            ready.wait(20)
            with begin() as write:
                write("r", n)

        threads = [threading.Thread(target=write_one, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(message.data for message in outbox.pending(10, [])) == ["0", "1", "2", "3"]
        if self.writes_side_by_side:
            with engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(tables.locks)) == 1

    def test_a_session_of_a_registry_will_do(self, engine: Engine, tables: Outbox, outbox: Waiting) -> None:
        registry = scoped_session(sessionmaker(engine))  # Flask-SQLAlchemy's `db.session`
        tables.publish_later(registry, "r", 1)
        registry.commit()
        registry.remove()
        assert len(outbox.pending(10, [])) == 1

    def test_a_session_of_several_databases_will_do(self, engine: Engine, tables: Outbox, outbox: Waiting) -> None:
        with Session(binds={tables.messages: engine, tables.locks: engine}) as session, session.begin():
            tables.publish_later(session, "r", 1)
        assert len(outbox.pending(10, [])) == 1

    def test_a_connection_will_do(self, engine: Engine, tables: Outbox, outbox: Waiting) -> None:
        with engine.begin() as connection:
            tables.publish_later(connection, "r", 1)
        assert len(outbox.pending(10, [])) == 1


class TestOnSqlite(SqlAlchemyContract):
    """One writer at a time."""

    writes_side_by_side = False

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        engine = create_engine(f"sqlite:///{tmp_path}/app.db", connect_args={"timeout": 20})
        yield engine
        engine.dispose()


def test_an_asynchronous_session(tmp_path: Path, log: Log) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    metadata = MetaData()
    outbox = Outbox(metadata)
    engine = create_engine(url)
    metadata.create_all(engine)

    async def write() -> None:
        asynchronous = create_async_engine(url.replace("sqlite", "sqlite+aiosqlite"))
        async with AsyncSession(asynchronous) as session, session.begin():
            await session.run_sync(outbox.publish_later, "r", {"n": 1})
        await asynchronous.dispose()

    asyncio.run(write())
    run_all(outbox.relay(engine, log.publish))
    assert log.data("r") == [{"n": 1}]
    engine.dispose()
