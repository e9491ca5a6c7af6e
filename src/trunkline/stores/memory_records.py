"""Records in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trunkline.stores.base import Guard, Swap


class _Record(NamedTuple):
    value: bytes
    until: int


class MemoryRecords:
    """The records of one process; see `RecordStore`."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], dict[str, _Record]] = {}

    def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        """Change records."""
        return [self._swap(swap) for swap in swaps]

    def _swap(self, swap: Swap) -> bool:
        if self.get(swap.space, swap.kind, swap.key) != swap.before:
            return False
        if swap.guard is not None and not self._holds(swap.space, swap.guard):
            return False
        records = self._kinds.setdefault((swap.space, swap.kind), {})
        if swap.after is None:
            records.pop(swap.key, None)
        else:
            records[swap.key] = _Record(swap.after, swap.until)
        if not records:
            del self._kinds[swap.space, swap.kind]
        return True

    def _holds(self, space: str, guard: Guard) -> bool:
        return self.get(space, guard.kind, guard.key) == guard.value

    def get(self, space: str, kind: str, key: str) -> bytes | None:
        """Return the value of a record."""
        found = self._kinds.get((space, kind), {}).get(key)
        return None if found is None else found.value

    def all(self, space: str, kind: str) -> dict[str, bytes]:
        """Return all records of a kind."""
        return {key: record.value for key, record in self._kinds.get((space, kind), {}).items()}

    def forget(self, space: str, kinds: Sequence[str]) -> None:
        """Forget all records of these kinds."""
        for kind in kinds:
            self._kinds.pop((space, kind), None)

    def expire(self, now_ms: int) -> None:
        """Forget records whose time is over."""
        for name, records in list(self._kinds.items()):
            left = {key: record for key, record in records.items() if not 0 < record.until <= now_ms}
            if left:
                self._kinds[name] = left
            else:
                del self._kinds[name]
