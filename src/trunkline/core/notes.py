"""The names of the notes that the system keeps with a log (`CorrectionStore.notes`)."""

from __future__ import annotations

AUDIT_KEY = "audit-key"
"""The key of the hashes of erased users."""

SESSION_KEY = "admin-session-key"
"""The key that signs administrators' sessions. No backup has it."""

ERASURE = "erasure:"
"""The beginning of the name of a job; behind it stands its id."""

CONSUMER = "consumer:"
"""The beginning of the name of a durable consumer's note; behind it stands its own name."""

PURGE_DUE = "purge-due"
"""There may be copies of what was redacted."""

REPLAY_DUE = "replay-due"
"""The log is an older one, and its journal was not carried out yet."""
