-- Redactions (core/redaction.py), deleted rooms, and the notes of the system.
ALTER TABLE messages ADD COLUMN kind INTEGER;  -- NULL for a message, 1 for one that was redacted, 2 for a redaction

CREATE TABLE notes (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
