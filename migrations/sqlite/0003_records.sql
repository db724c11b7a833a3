-- Pools (kind 1), holds (2) and tombstones (3) at the head. `encoded` is the record; `parent` is a hold's pool, and `due` is
-- when a hold lapses or a tombstone may go. A new kind needs no migration.
CREATE TABLE records (
    kind    INTEGER NOT NULL,
    id      BLOB    NOT NULL CHECK (length(id) = 16),
    parent  BLOB    CHECK (length(parent) = 16),
    due     INTEGER,
    encoded BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX records_by_parent ON records (kind, parent, due);
CREATE INDEX records_by_due ON records (kind, due) WHERE due IS NOT NULL;
