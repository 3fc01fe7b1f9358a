-- oldest code: 1
-- Where status lists tell of the token, or of the grant.
ALTER TABLE tokens ADD COLUMN status_index bigint;
ALTER TABLE grants ADD COLUMN status_index bigint;

-- What has no place there is in no index. From here on every new partition has it; the present ones get theirs next.
CREATE INDEX tokens_by_status ON ONLY tokens (status_index) WHERE status_index IS NOT NULL;

-- Which numbers were given out. One row, so that none is given out twice.
CREATE TABLE status_head (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    next_index  bigint NOT NULL,                 -- none from here on was
    first_index bigint NOT NULL                  -- what is below it was ended by a restore
) WITH (fillfactor = 50);

INSERT INTO status_head (next_index, first_index) VALUES (0, 0);
