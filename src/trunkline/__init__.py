"""Real-time rooms for Python web applications that lose nothing.

Every room is one append-only log, every client is a cursor over it. Start with `Hub`.
"""

from trunkline.access.issuer import Issuer
from trunkline.access.jwt import JwtAuth
from trunkline.core.grant import Grant, Permissions
from trunkline.core.limits import Limits, Retention, Tuning
from trunkline.core.message import Message, Receipt
from trunkline.core.position import Gap, GapError
from trunkline.errors import (
    ConfigError,
    HookFailed,
    Overloaded,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
    WrongLoop,
)
from trunkline.hub import Hub
from trunkline.wire.credentials import Credentials

__all__ = [
    "ConfigError",
    "Credentials",
    "Gap",
    "GapError",
    "Grant",
    "HookFailed",
    "Hub",
    "Issuer",
    "JwtAuth",
    "Limits",
    "Message",
    "Overloaded",
    "Permissions",
    "Receipt",
    "RequestError",
    "Retention",
    "ShuttingDown",
    "StoreUnavailable",
    "TrunklineError",
    "Tuning",
    "WrongLoop",
]
