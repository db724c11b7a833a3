-- The journal of an embedded replica. Times are microseconds since 1970-01-01T00:00:00Z.

-- The newest version, the chain up to it, and the digest of the ads it leaves. Always one row.
CREATE TABLE head (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL CHECK (version >= 0),
    chain   BLOB    NOT NULL CHECK (length(chain) = 32),
    digest  BLOB    NOT NULL CHECK (length(digest) = 16)
) STRICT;

INSERT INTO head (only, version, chain, digest) VALUES (1, 0, zeroblob(32), zeroblob(16));

-- Every decided change, in order. A request's item is decided once: that is what makes repeating a batch safe.
CREATE TABLE log (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    chain   BLOB    NOT NULL CHECK (length(chain) = 32),
    request BLOB    NOT NULL CHECK (length(request) = 16),
    item    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    bytes   BLOB    NOT NULL,
    UNIQUE (request, item)
) STRICT;

-- The ads at the head. `encoded` is the ad; the columns beside it are for people and for the sweep.
CREATE TABLE ads (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    start_at   INTEGER NOT NULL,
    end_at     INTEGER NOT NULL,
    title      TEXT    NOT NULL,
    encoded    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ads_by_end ON ads (end_at);

-- What a repeated Idempotency-Key is answered.
CREATE TABLE idempotency (
    scope  BLOB    PRIMARY KEY CHECK (length(scope) = 32),
    body   BLOB    NOT NULL CHECK (length(body) = 32),
    answer BLOB    NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_time ON idempotency (at);
