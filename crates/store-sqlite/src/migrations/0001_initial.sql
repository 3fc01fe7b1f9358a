-- "GrNt": tells a store of Grantry from another program's database.
PRAGMA application_id = 1198673524;

-- A token as it was issued. Only `ended` ever changes.
CREATE TABLE tokens (
    id            BLOB    PRIMARY KEY,          -- UUIDv7: the newest lie together, the oldest leave together
    slot          BLOB    NOT NULL,
    client_id     TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    subject_kind  INTEGER NOT NULL,             -- 1 client, 2 user
    scope         TEXT    NOT NULL,
    audience      TEXT    NOT NULL,             -- JSON array
    format        INTEGER NOT NULL,             -- 1 opaque, 2 JWT
    issued_at     INTEGER NOT NULL,             -- milliseconds, like every time in here
    expires_at    INTEGER NOT NULL,
    seen_epoch    INTEGER NOT NULL,
    seen_position INTEGER NOT NULL,
    ended         INTEGER                       -- 1 inactive, 2 revoked
) STRICT, WITHOUT ROWID;

-- The primary key is the constraint "at most one ACTIVE token a slot". ACTIVE against RETIRED follows from it:
-- displacing a holder changes this row and no token.
CREATE TABLE slots (
    slot       BLOB    PRIMARY KEY,
    holder     BLOB    NOT NULL,
    expires_at INTEGER NOT NULL                 -- the holder's
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    client_id          TEXT    PRIMARY KEY,
    metadata           TEXT    NOT NULL,        -- JSON, RFC 7591's names
    secret_key_version INTEGER,
    secret_hash        BLOB,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    version            INTEGER NOT NULL,
    is_administrator   INTEGER NOT NULL         -- derived from the metadata when it is written
) STRICT, WITHOUT ROWID;

CREATE INDEX administrators ON clients (client_id) WHERE is_administrator = 1;

CREATE TABLE revocation_log (
    position   INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    key        BLOB    NOT NULL,
    keep_until INTEGER NOT NULL,
    logged_at  INTEGER NOT NULL
) STRICT;

-- Rules alone: slot, client, subject, all. Revoking single tokens costs nothing here.
CREATE INDEX rules_by_key ON revocation_log (kind, key, epoch, position) WHERE kind IN (2, 3, 4, 5);
CREATE INDEX rules_by_position ON revocation_log (epoch, position) WHERE kind IN (2, 3, 4, 5);

-- One row, touched last in a transaction, so that positions have no gaps and appear in order.
CREATE TABLE log_head (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    chain    BLOB    NOT NULL
) STRICT;

INSERT INTO log_head (one, epoch, position, chain) VALUES (1, 1, 0, zeroblob(32));

CREATE TABLE audit (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,                -- JSON
    request_id TEXT
) STRICT;

CREATE TABLE keys (
    purpose    TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (purpose, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    id             BLOB    PRIMARY KEY,
    last_heartbeat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
