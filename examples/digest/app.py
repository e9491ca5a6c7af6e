"""An e-mail for each order, by a durable consumer: none is forgotten when this process or the mail server dies.

    trunkline serve                                  (in one terminal)
    SMTP=localhost:1025 python -m examples.digest.app

Publish an order: `trunkline publish orders:7 '{"email": "ana@example.com", "items": ["tea", "cups"]}'`.
"""

import asyncio
import os
import smtplib
import sqlite3
from email.message import EmailMessage
from typing import Any

from trunkline.client import ClientError, ConsumedMessage, consume

SERVER = os.environ.get("TRUNKLINE_URL", "http://localhost:8000")
SMTP = os.environ.get("SMTP", "localhost:25")


class Sent:
    """What was mailed already, so that a message that comes again is not mailed again."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path)
        self._file.execute("CREATE TABLE IF NOT EXISTS sent (room TEXT, position TEXT, PRIMARY KEY (room, position))")

    def __contains__(self, message: ConsumedMessage) -> bool:
        key = (message.room, message.position)
        return self._file.execute("SELECT 1 FROM sent WHERE room = ? AND position = ?", key).fetchone() is not None

    def add(self, message: ConsumedMessage) -> None:
        with self._file:
            self._file.execute("INSERT INTO sent VALUES (?, ?)", (message.room, message.position))


def mail(order: dict[str, Any], room: str) -> None:
    """Send one e-mail; raises what smtplib raises."""
    letter = EmailMessage()
    letter["From"], letter["To"] = "shop@example.com", order["email"]
    letter["Subject"] = f"Your order {room.partition(':')[2]}"
    letter.set_content("You have ordered:\n" + "".join(f"- {item}\n" for item in order["items"]))
    host, _, port = SMTP.partition(":")
    with smtplib.SMTP(host, int(port), timeout=10) as server:
        server.send_message(letter)


async def work(sent: Sent) -> None:
    """Mail for ever. An order that cannot be read is set aside after five tries, and the next one is mailed."""
    async for message in consume(SERVER, "order-mail", "orders:*", ack_wait_s=60):
        try:
            if message not in sent:
                await asyncio.to_thread(mail, message.data, message.room)
                sent.add(message)
        except (OSError, smtplib.SMTPException, KeyError, TypeError) as error:
            await message.fail(f"{type(error).__name__}: {error}")
            continue
        try:
            await message.ack()
        except ClientError as error:
            print(f"{message.room} comes again: {error}")


if __name__ == "__main__":
    asyncio.run(work(Sent(os.environ.get("SENT", "sent.db"))))
