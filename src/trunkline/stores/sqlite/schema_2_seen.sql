-- Read marks: up to where each member has seen each room. By names, because one may mark a room that is empty.
CREATE TABLE seen (
    room   TEXT NOT NULL,
    member TEXT NOT NULL,
    offset INTEGER NOT NULL,
    at     INTEGER NOT NULL,  -- ms since 1970 UTC
    PRIMARY KEY (room, member)
) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);
CREATE INDEX seen_moved ON seen (room, at);
