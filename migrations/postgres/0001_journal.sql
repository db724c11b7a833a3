-- The journal of a cluster. Times are the database's own.

-- The newest version, the chain up to it, and the digest of the ads it leaves. Always one row. `writes` counts
-- the transactions that have changed anything: who writes names the count that was read with everything else,
-- and writes only if it is still that one. So what was decided is always what the journal's state leads to, and
-- the order of commits is that of versions, since the row stays locked until the commit.
-- It changes with every commit: the room left in its page lets those updates stay clear of the index.
CREATE TABLE head (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint  NOT NULL CHECK (version >= 0),
    chain   bytea   NOT NULL CHECK (octet_length(chain) = 32),
    digest  bytea   NOT NULL CHECK (octet_length(digest) = 16),
    writes  bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO head (version, chain, digest)
VALUES (0, decode(repeat('00', 32), 'hex'), decode(repeat('00', 16), 'hex'));

-- Every decided change, in order. A request's item is decided once: that is what makes repeating a batch safe.
CREATE TABLE log (
    version bigint      PRIMARY KEY CHECK (version > 0),
    chain   bytea       NOT NULL CHECK (octet_length(chain) = 32),
    request uuid        NOT NULL,
    item    integer     NOT NULL CHECK (item >= 0),
    at      timestamptz NOT NULL,
    bytes   bytea       NOT NULL,
    CONSTRAINT log_decided_once UNIQUE (request, item)
);

-- The last change that is no longer in the log: what the log begins behind. Always one row.
CREATE TABLE log_base (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint  NOT NULL CHECK (version >= 0),
    chain   bytea   NOT NULL CHECK (octet_length(chain) = 32),
    digest  bytea   NOT NULL CHECK (octet_length(digest) = 16)
);

INSERT INTO log_base (version, chain, digest) SELECT version, chain, digest FROM head;

-- The ads at the head. `encoded` is the ad; the columns beside it are for people and for the sweep.
CREATE TABLE ads (
    id         uuid        PRIMARY KEY,
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    start_at   timestamptz NOT NULL,
    end_at     timestamptz NOT NULL,
    title      text        NOT NULL,
    encoded    bytea       NOT NULL
);

CREATE INDEX ads_by_end ON ads (end_at);

-- What a repeated Idempotency-Key is answered.
CREATE TABLE idempotency (
    scope  bytea       PRIMARY KEY CHECK (octet_length(scope) = 32),
    body   bytea       NOT NULL CHECK (octet_length(body) = 32),
    answer bytea       NOT NULL,
    at     timestamptz NOT NULL
);

CREATE INDEX idempotency_by_time ON idempotency (at);

-- The register: every replica, and how it stood at its last head poll. Each row changes several times a second.
CREATE TABLE replicas (
    replica           uuid        PRIMARY KEY,
    address           text        NOT NULL,
    build             text        NOT NULL,
    format_level      smallint    NOT NULL,
    state             text        NOT NULL,
    published_version bigint      NOT NULL,
    published_chain   bytea       NOT NULL CHECK (octet_length(published_chain) = 32),
    published_digest  bytea       NOT NULL CHECK (octet_length(published_digest) = 16),
    clock_ahead       bigint      NOT NULL, -- microseconds
    tails_journal     boolean     NOT NULL,
    seen_at           timestamptz NOT NULL,
    lease_until       timestamptz NOT NULL
) WITH (fillfactor = 10);
