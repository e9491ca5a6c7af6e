"""Real-time rooms for Python web applications that lose nothing.

Every room is one append-only log, every client is a cursor over it. Start with `Hub`.
"""

from trunkline.core.limits import Limits, Retention, Tuning
from trunkline.core.message import Message, Receipt
from trunkline.core.position import Gap
from trunkline.errors import (
    ConfigError,
    GapError,
    Overloaded,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
)
from trunkline.hub import Hub

__all__ = [
    "ConfigError",
    "Gap",
    "GapError",
    "Hub",
    "Limits",
    "Message",
    "Overloaded",
    "Receipt",
    "RequestError",
    "Retention",
    "ShuttingDown",
    "StoreUnavailable",
    "TrunklineError",
    "Tuning",
]
