-- The rows that issuing a token writes, with the columns, sizes and keys that they have in the server's own schema.
CREATE TABLE tokens (
    id            uuid     NOT NULL PRIMARY KEY,
    slot          bytea    NOT NULL,
    client_id     text     NOT NULL,
    subject       text     NOT NULL,
    subject_kind  smallint NOT NULL,
    scope         text     NOT NULL,
    audience      text     NOT NULL,
    format        smallint NOT NULL,
    issued_at     bigint   NOT NULL,
    expires_at    bigint   NOT NULL,
    seen_epoch    bigint   NOT NULL,
    seen_position bigint   NOT NULL,
    grant_id      uuid,
    session_id    uuid,
    deferred_by   smallint,
    ended         smallint
) PARTITION BY RANGE (id);

CREATE TABLE slots (
    slot       bytea  NOT NULL PRIMARY KEY,
    holder     uuid   NOT NULL,
    expires_at bigint NOT NULL,
    displaced  uuid
) WITH (fillfactor = 50);
