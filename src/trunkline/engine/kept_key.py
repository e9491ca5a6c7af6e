"""Secret keys that a log keeps among its notes, so that all its nodes have the same ones."""

from __future__ import annotations

import secrets

from trunkline.stores.base import CorrectionStore

KEY_BYTES = 32


async def kept_key(store: CorrectionStore, note: str) -> bytes:
    """Return the key that a note has; if there is none yet, it is made.

    Args:
        note: The name of the note.

    Raises:
        StoreUnavailable: It could not be read or kept.
    """
    key = (await store.notes()).get(note)
    if key is None:
        await store.note(note, secrets.token_bytes(KEY_BYTES))
        key = (await store.notes())[note]  # as the log has it: another node may have made one meanwhile
    return key
