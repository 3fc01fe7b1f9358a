-- Names this store among all; a copy or a backup of it keeps the name.
CREATE TABLE cluster (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  BLOB    NOT NULL
) STRICT;

INSERT INTO cluster (one, id) VALUES (1, randomblob(16));

-- What operators have changed at run time. One row, so that a change is an update over a version.
CREATE TABLE settings (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    version    INTEGER NOT NULL,                -- 0: nothing was ever changed
    document   TEXT    NOT NULL,                -- JSON object
    updated_at INTEGER NOT NULL
) STRICT;

INSERT INTO settings (one, version, document, updated_at) VALUES (1, 0, '{}', 0);
