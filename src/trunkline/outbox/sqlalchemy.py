"""An outbox in a database that SQLAlchemy reaches: SQLite, PostgreSQL, MySQL and MariaDB.

outbox = Outbox(Base.metadata)                                   # two tables beside your own
outbox.publish_later(session, "orders:7", {"status": "paid"})    # inside your transaction
with outbox.relay(engine, hub.publish_sync): …                   # somewhere, all the time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from trunkline.core.limits import Limits
from trunkline.core.message import SENDER_MAX
from trunkline.outbox.pending import SHARDS, Pending, new_pending, shard_of
from trunkline.outbox.relay import Publish, Relay

REASON_MAX = 1000


class Outbox:
    """An outbox: two tables, `trunkline_outbox` and `trunkline_outbox_lock`.

    They are made with the others by `metadata.create_all`, or by your migrations.

    Args:
        metadata: Of your tables.
        name: Of the table.
        limits: What the server lets a message be, if it is not what it is by default.
    """

    def __init__(self, metadata: MetaData, *, name: str = "trunkline_outbox", limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.messages = Table(
            name,
            metadata,
            Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
            Column("room", String(255), nullable=False),
            Column("id", String(255), nullable=False),
            Column("sender", String(SENDER_MAX)),
            Column("data", Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb"), nullable=False),
            Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
            Column("refused", String(REASON_MAX)),
            sqlite_autoincrement=True,  # a number is never given twice
        )
        self.locks = Table(f"{name}_lock", metadata, Column("shard", Integer, primary_key=True, autoincrement=False))
        event.listen(self.locks, "after_create", self._fill)

    def publish_later(
        self,
        session: Session | scoped_session[Any] | Connection,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
    ) -> str:
        """Publish a message if, and when, this transaction is committed.

        Until then other transactions that publish in the same room wait: call it late in yours. Two rooms in one
        transaction are written in the same order everywhere, as rows of any table that transactions lock.

        Args:
            session: The session or connection that the transaction is of; with an AsyncSession,
                `await session.run_sync(outbox.publish_later, room, data)`.
            room: Name of the room.
            data: Anything that msgspec can encode as JSON.
            id: The idempotency key; by default a random one.
            sender: The user in whose name it is published.

        Returns:
            The id.

        Raises:
            RequestError: The room, the id, the sender or the data are not allowed.
            TypeError: msgspec cannot encode the data, or the session is an AsyncSession.
        """
        message = new_pending(room, data, id, sender, self._limits)
        connection: Any = session
        if not isinstance(session, Connection):  # of several databases, the one that the table is in
            connection = session.connection(bind_arguments={"clause": self.messages})
        if not isinstance(connection, Connection):
            raise TypeError("of an AsyncSession: await session.run_sync(outbox.publish_later, room, data)")
        if connection.dialect.name != "sqlite":
            self._lock(connection, shard_of(room))
        row = {"room": room, "id": message.id, "sender": sender, "data": message.data}
        connection.execute(insert(self.messages).values(row))
        return message.id

    def relay(self, engine: Engine, publish: Publish, *, poll_s: float = 0.2, timeout_s: float = 10.0) -> Relay:
        """Return what publishes the messages: `with outbox.relay(engine, hub.publish_sync): …`.

        Args:
            engine: Of the database.
            publish: `hub.publish_sync`, or the `publish` of a `Backend`.
            poll_s: How often the table is looked at, in seconds, while nothing waits.
            timeout_s: How long one message may take, in seconds.
        """
        return Relay(Waiting(self, engine), publish, poll_s=poll_s, timeout_s=timeout_s)

    def _lock(self, connection: Connection, shard: int) -> None:
        asked = select(self.locks.c.shard).where(self.locks.c.shard == shard).with_for_update()
        if connection.execute(asked).first() is None:  # a migration has made the tables, and not filled this one
            try:
                with connection.begin_nested():
                    connection.execute(insert(self.locks).values(shard=shard))
            except IntegrityError:  # by another transaction, meanwhile
                connection.execute(asked).first()

    def _fill(self, _: Table, connection: Connection, **__: Any) -> None:
        connection.execute(insert(self.locks), [{"shard": shard} for shard in range(SHARDS)])


class Waiting:
    """What waits in the tables (`relay.Outbox`)."""

    def __init__(self, outbox: Outbox, engine: Engine) -> None:
        self._table = outbox.messages
        self._engine = engine

    def pending(self, limit: int, without: Sequence[str]) -> list[Pending]:
        columns = self._table.c
        asked = (
            select(columns.number, columns.room, columns.id, columns.sender, columns.data)
            .where(columns.refused.is_(None), columns.room.not_in(without))
            .order_by(columns.number)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [Pending(*row) for row in connection.execute(asked)]

    def remove(self, messages: Sequence[Pending]) -> None:
        columns = self._table.c
        # One by one: of a list MariaDB may read the whole table, and wait for every transaction that has written there.
        one = delete(self._table).where(columns.number == bindparam("of_number"), columns.id == bindparam("of_id"))
        with self._engine.begin() as connection:
            connection.execute(one, [{"of_number": message.number, "of_id": message.id} for message in messages])

    def refuse(self, message: Pending, why: str) -> None:
        columns = self._table.c
        asked = update(self._table).where(columns.number == message.number, columns.id == message.id)
        with self._engine.begin() as connection:
            connection.execute(asked.values(refused=why[:REASON_MAX]))

    def release(self) -> None:
        """Do nothing: each connection is back in the engine's pool."""
