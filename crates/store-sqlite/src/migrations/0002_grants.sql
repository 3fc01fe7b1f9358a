ALTER TABLE tokens ADD COLUMN grant_id BLOB;
ALTER TABLE tokens ADD COLUMN session_id BLOB;

-- One authorization, for as long as it can be refreshed. A refresh changes the row in place, and no column that an
-- index has.
CREATE TABLE grants (
    id              BLOB    PRIMARY KEY,        -- UUIDv7
    slot            BLOB,                       -- for slot binding `none`
    is_last_of_slot INTEGER NOT NULL,           -- whether none was opened for the slot since
    client_id       TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    subject_kind    INTEGER NOT NULL,
    scope           TEXT    NOT NULL,
    audience        TEXT    NOT NULL,           -- JSON array
    session_id      BLOB,
    seen_epoch      INTEGER NOT NULL,
    seen_position   INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    idle_expires_at INTEGER NOT NULL,
    counter         INTEGER NOT NULL,
    rotated_at      INTEGER NOT NULL,
    access_token    BLOB    NOT NULL,           -- of the last rotation
    ended_at        INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX grants_by_slot ON grants (slot) WHERE is_last_of_slot = 1;
CREATE INDEX grants_by_subject ON grants (subject, id);

-- Assertions that were used (RFC 7523), until they have expired.
CREATE TABLE assertions (
    key        BLOB    PRIMARY KEY,             -- a hash of who signed it and its `jti`
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX assertions_by_expiry ON assertions (expires_at);

-- The origins of enabled clients, derived from the metadata when it is written. No client had any before.
CREATE TABLE client_origins (
    origin    TEXT NOT NULL,
    client_id TEXT NOT NULL,
    PRIMARY KEY (origin, client_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX origins_by_client ON client_origins (client_id);

CREATE TABLE next_keys (
    purpose      TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    sealed       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    active_from  INTEGER NOT NULL,
    needed_until INTEGER,                       -- absent until there is a successor
    revoked_at   INTEGER,
    PRIMARY KEY (purpose, version)
) STRICT, WITHOUT ROWID;

INSERT INTO next_keys (purpose, version, sealed, created_at, active_from)
    SELECT purpose, version, sealed, created_at, created_at FROM keys;
DROP TABLE keys;
ALTER TABLE next_keys RENAME TO keys;

-- Rules alone, two kinds more: grant and session.
DROP INDEX rules_by_key;
DROP INDEX rules_by_position;
CREATE INDEX rules_by_key ON revocation_log (kind, key, epoch, position) WHERE kind IN (2, 3, 4, 5, 7, 8);
CREATE INDEX rules_by_position ON revocation_log (epoch, position) WHERE kind IN (2, 3, 4, 5, 7, 8);
