"""Records: one task gives the store all swaps that arrived while the last ones were made (group commit)."""

from __future__ import annotations

import asyncio

from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable, TrunklineError
from trunkline.stores.base import RecordStore, Swap

SWAPS_MAX = 20_000  # that wait for the store
AT_ONCE = 500


class Records:
    """The records of a log, as one process changes them."""

    def __init__(self, store: RecordStore, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._waiting: list[tuple[Swap, asyncio.Future[bool]]] = []
        self._runs = False

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._waiting, self._runs = [], False

    async def swap(self, swap: Swap) -> bool:
        """Change a record; return whether it was as expected.

        Raises:
            StoreUnavailable: It is changed or not.
        """
        if len(self._waiting) >= SWAPS_MAX:
            raise StoreUnavailable("too many changes wait for the log")
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((swap, done))
        if not self._runs:
            self._runs = True
            self._tasks.spawn(self._run())
        return await done

    async def replace(
        self, space: str, kind: str, key: str, before: bytes | None, after: bytes | None, until: int
    ) -> bool:
        """Change a record that is the only one of its space; return whether it was as expected.

        Args:
            until: When it may be forgotten, in ms since 1970 UTC.

        Raises:
            StoreUnavailable: It is changed or not.
        """
        return await self.swap(Swap(space, kind, key, before, after, None, until))

    async def get(self, space: str, kind: str, key: str) -> bytes | None:
        """Return the value of a record; None if there is none.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        return await self._store.record(space, kind, key)

    async def all(self, space: str, kind: str) -> dict[str, bytes]:
        """Return all records of a kind, by their keys.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        return await self._store.records(space, kind)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                await self._give(batch)
        finally:
            self._runs = False
            for _, done in self._waiting:
                done.cancel()
            self._waiting = []

    async def _give(self, batch: list[tuple[Swap, asyncio.Future[bool]]]) -> None:
        try:
            answers = await self._store.swap([swap for swap, _ in batch])
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store does, the callers get an answer
            if not isinstance(error, TrunklineError):
                error = StoreUnavailable(f"the log failed: {error}")
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), answer in zip(batch, answers, strict=True):
                if not done.done():
                    done.set_result(answer)
