-- Epochs of rooms, and what tells whether the file is still what was acknowledged (core/epochs.py, sqlite_place.py).
ALTER TABLE log ADD COLUMN life INTEGER NOT NULL DEFAULT 0;        -- how many lives have begun
ALTER TABLE log ADD COLUMN lives TEXT NOT NULL DEFAULT '';         -- the names of the last of them, the newest last
ALTER TABLE log ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;  -- grows with what is stored
ALTER TABLE log ADD COLUMN place TEXT NOT NULL DEFAULT '';         -- where it was last used, as JSON
ALTER TABLE log ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;     -- 1 if that process ended in order

ALTER TABLE rooms ADD COLUMN epoch TEXT NOT NULL DEFAULT '';       -- in the life it was last written in
ALTER TABLE rooms ADD COLUMN life INTEGER NOT NULL DEFAULT 0;      -- that life
ALTER TABLE rooms ADD COLUMN lineage TEXT NOT NULL DEFAULT '';     -- former epochs, and up to where they are still here
ALTER TABLE rooms ADD COLUMN origin TEXT NOT NULL DEFAULT '';      -- its first epoch, in which messages have none
ALTER TABLE rooms ADD COLUMN at INTEGER NOT NULL DEFAULT 0;        -- the newest message's stamp
ALTER TABLE rooms ADD COLUMN ahead_since INTEGER;                  -- when its first messages were seen to be of the future
ALTER TABLE rooms ADD COLUMN ahead_to INTEGER;                     -- the newest offset at that time
UPDATE rooms SET epoch = (SELECT epoch FROM log), origin = (SELECT epoch FROM log),
    at = coalesce((SELECT at FROM messages WHERE key = (rooms.id << 40 | head)), 0);
CREATE INDEX rooms_empty ON rooms (at) WHERE first > head;

ALTER TABLE messages ADD COLUMN epoch TEXT;      -- in which it was written, if not in the room's first one
ALTER TABLE messages ADD COLUMN stored INTEGER;  -- when it was stored, if its stamp says otherwise
