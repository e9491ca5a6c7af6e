-- The log of one machine. Opened in WAL mode, so that readers never wait for the writer.

CREATE TABLE log (epoch TEXT NOT NULL);

CREATE TABLE rooms (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    head    INTEGER NOT NULL,  -- the newest offset
    first   INTEGER NOT NULL,  -- the earliest retained offset
    bytes   INTEGER NOT NULL,  -- what the retained messages take, as retention counts it
    indexed INTEGER NOT NULL   -- up to here, ids are in message_ids; behind it, the writer reads them off the messages
);

-- key = room id << 40 | offset: one room's messages lie side by side in the order of their offsets, a resume is one
-- seek, and an append goes to the end of its room.
CREATE TABLE messages (
    key    INTEGER PRIMARY KEY,
    id     TEXT,             -- NULL if the publisher gave none
    sender TEXT NOT NULL,    -- '' for none
    at     INTEGER NOT NULL, -- ms since 1970 UTC
    data   BLOB NOT NULL     -- JSON
);

-- Publishing twice is publishing once, for as long as the message is retained. Ids are random, so each one added
-- touches another page of this tree: they are added in sorted thousands, not with each commit (see sqlite.py).
CREATE TABLE message_ids (
    room   INTEGER NOT NULL,
    sender TEXT NOT NULL,
    id     TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (room, sender, id)
) WITHOUT ROWID;
