"""A message as a durable consumer gets it: it is to be acknowledged."""

from __future__ import annotations

from typing import Any, Protocol

from trunkline.core.message import Message


class Handling(Protocol):
    """What becomes of messages."""

    async def ack(self, message: ConsumedMessage) -> None:
        """Note that a message, and everything before it, was handled."""

    async def fail(self, message: ConsumedMessage, reason: str) -> None:
        """Note that a message could not be handled."""

    async def set_aside(self, message: ConsumedMessage, reason: str) -> None:
        """Report a message that will never be handled."""


class ConsumedMessage:
    """A message of a room.

    Attributes:
        message: The message itself; its fields are here, too.
        epoch: The epoch of the room's log in which it was read.
        fence: The fencing number of this tenure: larger than that of every instance that had the room before. Pass it
            to what you write to, so that it can refuse what comes from an instance that was too slow to notice.
        tries: How often it was tried before.
    """

    __slots__ = ("_handling", "epoch", "fence", "message", "tries")

    def __init__(self, handling: Handling, message: Message, epoch: str, fence: int, tries: int) -> None:
        self._handling = handling
        self.message = message
        self.epoch = epoch
        self.fence = fence
        self.tries = tries

    def __repr__(self) -> str:
        return (
            f"ConsumedMessage({self.room!r}, {self.position!r}, fence={self.fence})"  # a log is no place for the rest
        )

    @property
    def room(self) -> str:
        """Name of the room."""
        return self.message.room

    @property
    def offset(self) -> int:
        """Its place in the room."""
        return self.message.offset

    @property
    def position(self) -> str:
        """Epoch and offset: the same in every try, and good as a key of what was handled already."""
        return f"{self.epoch}.{self.offset}"

    @property
    def id(self) -> str:
        """What its publisher called it, or its position."""
        return self.message.id

    @property
    def sender(self) -> str | None:
        """The user who published it, or None."""
        return self.message.sender

    @property
    def at(self) -> int:
        """When it was published, in ms since 1970 UTC."""
        return self.message.at

    @property
    def data(self) -> Any:
        """The decoded data; None if it was redacted."""
        return self.message.data

    @property
    def redacted(self) -> bool:
        """Whether its data was taken away."""
        return self.message.redacted

    async def ack(self) -> None:
        """Note that it was handled: it does not come again, and the next one of its room does.

        Raises:
            Fenced: Another instance has the room by now, and gets the message, too; or the room was deleted, and has
                begun anew. This was not counted.
            StoreUnavailable: It is not known whether it was counted; try again, or let it come again.
        """
        await self._handling.ack(self)

    async def fail(self, reason: str = "") -> None:
        """Note that it could not be handled: it comes again after a while, and nothing of its room before it does.

        After the last try it is set aside: it is reported, and its room goes on behind it.

        Args:
            reason: Why, for the report.

        Raises:
            Fenced: Another instance has the room by now.
            StoreUnavailable: It is not known whether it was counted; it comes again.
        """
        await self._handling.fail(self, reason)

    async def set_aside(self, reason: str = "") -> None:
        """Note that it will never be handled: it is reported, as after the last try, and its room goes on behind it.

        Args:
            reason: Why, for the report.

        Raises:
            Fenced: Another instance has the room by now.
            StoreUnavailable: It is not known whether it was reported; it comes again.
        """
        await self._handling.set_aside(self, reason)
