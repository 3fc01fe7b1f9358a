-- The number of the node that answered with the token before its row was written.
ALTER TABLE tokens ADD COLUMN deferred_by INTEGER;

-- The holder that this one displaced knowingly.
ALTER TABLE slots ADD COLUMN displaced BLOB;

-- Tokens that were revoked before they had a row.
CREATE TABLE early_ends (
    id         BLOB    PRIMARY KEY,
    expires_by INTEGER NOT NULL                 -- when the token has expired at the latest
) STRICT, WITHOUT ROWID;

CREATE INDEX early_ends_by_expiry ON early_ends (expires_by);

ALTER TABLE nodes ADD COLUMN number INTEGER;    -- for nodes that defer writes
ALTER TABLE nodes ADD COLUMN drained_below BLOB;
CREATE UNIQUE INDEX nodes_by_number ON nodes (number) WHERE number IS NOT NULL;

-- A client that says nothing follows the server's setting; until now every client had the only value there was.
UPDATE clients SET metadata = json_remove(metadata, '$.persistence');
