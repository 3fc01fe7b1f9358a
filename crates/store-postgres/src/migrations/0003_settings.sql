-- oldest code: 1
-- Names this store among all; a copy of it keeps the name.
CREATE TABLE cluster (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid    NOT NULL
);

INSERT INTO cluster (id) VALUES (gen_random_uuid());

-- What operators have changed at run time. One row, so that a change is an update over a version.
CREATE TABLE settings (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    version    bigint NOT NULL,                  -- 0: nothing was ever changed
    document   text   NOT NULL,                  -- JSON object
    updated_at bigint NOT NULL
);

INSERT INTO settings (version, document, updated_at) VALUES (0, '{}', 0);
