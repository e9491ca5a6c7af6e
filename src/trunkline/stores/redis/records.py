"""Records in Redis: a hash for each kind.

All hashes of a space have one slot, so one script sees a record and its guard.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from trunkline.stores.base import Swap
from trunkline.stores.redis.client import Call, RedisClient, Script


class RedisRecords:
    """The records of one log; see `RecordStore`."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._swap_script = Script("swap")

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        """Change records."""
        answers = await self._client.call([self._swapping(swap) for swap in swaps], wait=True)
        return [answer == 1 for answer in answers]

    def _swapping(self, swap: Swap) -> Call:
        guard = swap.guard
        kinds = [swap.kind, swap.kind if guard is None else guard.kind]
        keys = [self._key(swap.space, kind) for kind in kinds]
        # How long, and not until when: the clock of Redis may be another one.
        kept_ms = max(1, swap.until - round(time.time() * 1000)) if swap.until else 0
        arguments = [swap.key, _optional(swap.before), _optional(swap.after), kept_ms]
        return Call(self._swap_script, keys, arguments if guard is None else [*arguments, guard.key, guard.value])

    async def get(self, space: str, kind: str, key: str) -> bytes | None:
        """Return the value of a record."""
        [found] = await self._client.ask([["HGET", self._key(space, kind), key]])
        return None if found is None else bytes(found)

    async def all(self, space: str, kind: str) -> dict[str, bytes]:
        """Return all records of a kind."""
        [pairs] = await self._client.ask([["HGETALL", self._key(space, kind)]])
        items = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
        return {key.decode(): value for key, value in items}

    async def forget(self, space: str, kinds: Sequence[str]) -> None:
        """Forget all records of these kinds."""
        await self._client.ask([["UNLINK", *(self._key(space, kind) for kind in kinds)]])

    def _key(self, space: str, kind: str) -> str:
        return f"{self._prefix}:{{={space}}}:{kind}"


def _optional(value: bytes | None) -> bytes:
    return b"" if value is None else b"+" + value
