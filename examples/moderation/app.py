"""A chat that is moderated before anything is stored: rude words are softened, links of newcomers and floods refused.

    trunkline run examples.moderation.app:app        (from the top of the repository)

Open http://localhost:8000/ and try to be rude.
"""

import re
import time
from collections import defaultdict, deque

from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline import Grant, Hub, IncomingMessage, Refused

RUDE = re.compile(r"\b(idiot|stupid)\b", re.IGNORECASE)
LINK = re.compile(r"https?://", re.IGNORECASE)
SETTLED = 3  # messages after which somebody is no newcomer
AT_ONCE, WITHIN_S = 5, 10.0

hub = Hub("memory:")
written: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=AT_ONCE))
count: dict[str, int] = defaultdict(int)


@hub.before_publish()
async def moderate(grant: Grant, message: IncomingMessage) -> None:
    data = message.data
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        raise Refused("no_text", "a message here is {text: …}")
    who = grant.user or str(data.get("name", "somebody"))
    if len(written[who]) == AT_ONCE and time.monotonic() - written[who][0] < WITHIN_S:
        raise Refused("rate_limited", "slow down a little", retry_after_ms=2000)
    if count[who] < SETTLED and LINK.search(data["text"]):
        raise Refused("link", "write a few messages before you post links")
    data["text"] = RUDE.sub(lambda rude: "*" * len(rude[0]), data["text"])
    written[who].append(time.monotonic())
    count[who] += 1


app = Starlette(routes=[Mount("/", hub.app)], lifespan=hub.lifespan)
