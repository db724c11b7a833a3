-- Pools (kind 1), holds (2) and tombstones (3) at the head. `encoded` is the record; `parent` is a hold's pool, and `due` is
-- when a hold lapses or a tombstone may go. A new kind needs no migration. A pool in demand changes with every commit: the
-- room left in each page lets those updates stay clear of the indexes. The table may be there already, if a backup from
-- before this migration was restored over it: what it holds is not of that backup.
CREATE TABLE IF NOT EXISTS records (
    kind    smallint    NOT NULL,
    id      uuid        NOT NULL,
    parent  uuid,
    due     timestamptz,
    encoded bytea       NOT NULL,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70);

CREATE INDEX IF NOT EXISTS records_by_parent ON records (kind, parent, due);
CREATE INDEX IF NOT EXISTS records_by_due ON records (kind, due) WHERE due IS NOT NULL;

DELETE FROM records;
