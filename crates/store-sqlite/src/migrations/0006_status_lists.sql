-- Where status lists tell of the token, or of the grant. What has no place there is in no index.
ALTER TABLE tokens ADD COLUMN status_index INTEGER;
ALTER TABLE grants ADD COLUMN status_index INTEGER;
CREATE INDEX tokens_by_status ON tokens (status_index) WHERE status_index IS NOT NULL;
CREATE INDEX grants_by_status ON grants (status_index) WHERE status_index IS NOT NULL;

-- Which numbers were given out. One row, so that none is given out twice.
CREATE TABLE status_head (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    next_index  INTEGER NOT NULL,               -- none from here on was
    first_index INTEGER NOT NULL                -- what is below it was ended by a restore
) STRICT;

INSERT INTO status_head (one, next_index, first_index) VALUES (1, 0, 0);
