"""Real-time rooms for Python web applications that lose nothing.

Every room is one append-only log, every client is a cursor over it. Start with `Hub`.
"""

from trunkline.access.administration import Reached
from trunkline.access.issuer import Issuer
from trunkline.access.jwt import JwtAuth
from trunkline.access.policy import AuthenticateHook, AuthorizeHook
from trunkline.consumers.message import ConsumedMessage
from trunkline.core.call import Call
from trunkline.core.connection_event import ConnectionEvent
from trunkline.core.grant import Grant, Permissions
from trunkline.core.incoming import IncomingMessage
from trunkline.core.limits import Limits, Tuning
from trunkline.core.message import Message, Receipt
from trunkline.core.page import Page
from trunkline.core.position import Gap, GapError
from trunkline.core.presence import Member
from trunkline.core.read_mark import Unread
from trunkline.core.retention import Retention, RoomRetention
from trunkline.engine.presence import PresenceHook
from trunkline.errors import (
    ConfigError,
    Fenced,
    HookFailed,
    Overloaded,
    Refused,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
    WrongLoop,
)
from trunkline.handlers.registry import ConnectionHook, PublishHook
from trunkline.hub import Hub
from trunkline.stores import Store, open_store
from trunkline.wire.credentials import Credentials

__all__ = [
    "AuthenticateHook",
    "AuthorizeHook",
    "Call",
    "ConfigError",
    "ConnectionEvent",
    "ConnectionHook",
    "ConsumedMessage",
    "Credentials",
    "Fenced",
    "Gap",
    "GapError",
    "Grant",
    "HookFailed",
    "Hub",
    "IncomingMessage",
    "Issuer",
    "JwtAuth",
    "Limits",
    "Member",
    "Message",
    "Overloaded",
    "Page",
    "Permissions",
    "PresenceHook",
    "PublishHook",
    "Reached",
    "Receipt",
    "Refused",
    "RequestError",
    "Retention",
    "RoomRetention",
    "ShuttingDown",
    "Store",
    "StoreUnavailable",
    "TrunklineError",
    "Tuning",
    "Unread",
    "WrongLoop",
    "open_store",
]
