-- Small values that processes share (stores/base.py: RecordStore).
CREATE TABLE records (
    space TEXT NOT NULL,
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,
    until INTEGER NOT NULL,  -- when it may be forgotten, in ms since 1970 UTC; 0 for never
    PRIMARY KEY (space, kind, key)
) WITHOUT ROWID;

CREATE INDEX records_until ON records (until) WHERE until > 0;
