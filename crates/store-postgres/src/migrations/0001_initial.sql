-- oldest code: 1
-- A token as it was issued. Only `ended` ever changes.
CREATE TABLE tokens (
    id            uuid     NOT NULL,             -- UUIDv7: the newest lie together, the oldest leave together
    slot          bytea    NOT NULL,
    client_id     text     NOT NULL,
    subject       text     NOT NULL,
    subject_kind  smallint NOT NULL,             -- 1 client, 2 user
    scope         text     NOT NULL,
    audience      text     NOT NULL,             -- JSON array
    format        smallint NOT NULL,             -- 1 opaque, 2 JWT
    issued_at     bigint   NOT NULL,             -- milliseconds, like every time in here
    expires_at    bigint   NOT NULL,
    seen_epoch    bigint   NOT NULL,
    seen_position bigint   NOT NULL,
    grant_id      uuid,
    session_id    uuid,
    deferred_by   smallint,                      -- the number of the node that answered before the row was there
    ended         smallint,                      -- 1 inactive, 2 revoked
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- What lies in which partition of `tokens` and `revocation_log`. A partition is dropped once all that is in it has
-- expired, which this row knows without looking at the rows: `expires_until` is raised before a row is inserted that
-- lives longer.
CREATE TABLE partitions (
    name          text    PRIMARY KEY,           -- of the partition
    parent        text    NOT NULL,              -- of the partitioned table
    from_time     bigint  NOT NULL,              -- of tokens: the time in their ids; of log entries: `keep_until`
    until_time    bigint  NOT NULL,              -- the first that lies outside
    expires_until bigint  NOT NULL,              -- nothing in it expires later
    dropping      boolean NOT NULL DEFAULT false,-- from now on nothing may be inserted
    UNIQUE (parent, from_time)
);

-- The primary key is the constraint "at most one ACTIVE token a slot". ACTIVE against RETIRED follows from it:
-- displacing a holder changes this row and no token. There is no other index, and room in each page, so that the row
-- changes where it lies (heap-only tuples).
CREATE TABLE slots (
    slot       bytea  PRIMARY KEY,
    holder     uuid   NOT NULL,
    expires_at bigint NOT NULL,                  -- the holder's
    displaced  uuid                              -- the holder that this one displaced knowingly
) WITH (fillfactor = 50);

-- Tokens that were ended before their row was there: a token issued asynchronously may be revoked at once.
CREATE TABLE early_ends (
    id         uuid   PRIMARY KEY,
    keep_until bigint NOT NULL
);

CREATE INDEX early_ends_by_keep_until ON early_ends (keep_until);

-- One authorization, for as long as it can be refreshed. A refresh changes the row in place, and no column that an
-- index has.
CREATE TABLE grants (
    id              uuid     PRIMARY KEY,        -- UUIDv7
    slot            bytea,                       -- for slot binding `none`
    is_last_of_slot boolean  NOT NULL,           -- whether none was opened for the slot since
    client_id       text     NOT NULL,
    subject         text     NOT NULL,
    subject_kind    smallint NOT NULL,
    scope           text     NOT NULL,
    audience        text     NOT NULL,           -- JSON array
    session_id      uuid,
    seen_epoch      bigint   NOT NULL,
    seen_position   bigint   NOT NULL,
    created_at      bigint   NOT NULL,
    expires_at      bigint   NOT NULL,
    idle_expires_at bigint   NOT NULL,
    counter         bigint   NOT NULL,
    rotated_at      bigint   NOT NULL,
    access_token    uuid     NOT NULL,           -- of the last rotation
    ended_at        bigint
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX grants_by_slot ON grants (slot) WHERE is_last_of_slot;
CREATE INDEX grants_by_subject ON grants (subject, id);

-- Assertions that were used (RFC 7523), until they have expired.
CREATE TABLE assertions (
    key        bytea  PRIMARY KEY,               -- a hash of who signed it and its `jti`
    expires_at bigint NOT NULL
);

CREATE INDEX assertions_by_expiry ON assertions (expires_at);

CREATE TABLE clients (
    client_id          text     COLLATE "C" PRIMARY KEY,
    metadata           text     NOT NULL,        -- JSON, RFC 7591's names
    secret_key_version smallint,
    secret_hash        bytea,
    created_at         bigint   NOT NULL,
    updated_at         bigint   NOT NULL,
    version            bigint   NOT NULL,
    is_administrator   boolean  NOT NULL         -- derived from the metadata when it is written
);

CREATE INDEX administrators ON clients (client_id) WHERE is_administrator;

-- The origins of enabled clients, derived from the metadata when it is written.
CREATE TABLE client_origins (
    origin    text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (origin, client_id)
);

CREATE INDEX origins_by_client ON client_origins (client_id);

CREATE TABLE keys (
    purpose      text     COLLATE "C" NOT NULL,
    version      smallint NOT NULL,
    sealed       bytea    NOT NULL,
    created_at   bigint   NOT NULL,
    active_from  bigint   NOT NULL,
    needed_until bigint,                         -- absent until there is a successor
    revoked_at   bigint,
    PRIMARY KEY (purpose, version)
);

CREATE TABLE audit (
    number     bigint PRIMARY KEY,
    at         bigint NOT NULL,
    actor      text   NOT NULL,
    action     text   NOT NULL,
    target     text   NOT NULL,
    detail     text   NOT NULL,                  -- JSON
    request_id text
);

-- One row, moved in the transaction that writes audit rows, before the log head. A sequence would let a reader who
-- goes on after the last number that it saw pass over a lower one that is committed later.
CREATE TABLE audit_head (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint  NOT NULL
);

INSERT INTO audit_head (number) VALUES (0);

-- Partitioned by when entries may be forgotten, so that nothing has to delete them one by one.
CREATE TABLE revocation_log (
    position   bigint   NOT NULL,
    epoch      bigint   NOT NULL,
    kind       smallint NOT NULL,
    key        bytea    NOT NULL,
    keep_until bigint   NOT NULL,
    logged_at  bigint   NOT NULL,
    PRIMARY KEY (position, keep_until)
) PARTITION BY RANGE (keep_until);

-- One row, touched last in a transaction, so that positions have no gaps and appear in order.
CREATE TABLE log_head (
    one                boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch              bigint  NOT NULL,
    position           bigint  NOT NULL,
    chain              bytea   NOT NULL,
    last_rule_epoch    bigint,                   -- of the last rule: what has seen it is ended by none
    last_rule_position bigint
);

INSERT INTO log_head (epoch, position, chain) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

-- The last rule about each name. Whether a rule ends something is one look-up here, however much the log holds.
CREATE TABLE rules (
    kind       smallint NOT NULL,
    key        bytea    NOT NULL,
    epoch      bigint   NOT NULL,
    position   bigint   NOT NULL,
    keep_until bigint   NOT NULL,                -- the latest of all rules about this name
    logged_at  bigint   NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE INDEX rules_by_keep_until ON rules (keep_until);

CREATE TABLE nodes (
    id             bytea    PRIMARY KEY,
    number         smallint UNIQUE,              -- what the tokens that it defers name it by
    last_heartbeat bigint   NOT NULL,
    drained_below  uuid                          -- every token that it deferred and that has a lower id has its row
) WITH (fillfactor = 50);

-- Who changes what no single row stands for holds one of these meanwhile: partitions, which client is the last
-- administrator, the keys as a whole.
CREATE TABLE turns (
    name text PRIMARY KEY
);

INSERT INTO turns (name) VALUES ('tokens'), ('revocation_log'), ('administrators'), ('keys');
