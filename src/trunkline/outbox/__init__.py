"""An outbox: messages that are written in the application's own transactions, and published when those are committed.

`outbox.sqlalchemy` has the tables for SQLAlchemy, `trunkline.django` those for Django; `Relay` publishes what is there.
"""

from trunkline.outbox.pending import Pending
from trunkline.outbox.relay import Outbox, Publish, Relay

__all__ = ["Outbox", "Pending", "Publish", "Relay"]
