-- A dump from before this, restored over a database from after, leaves what the dump does not know: hence IF NOT EXISTS.

-- Replicas that have taken themselves off the register, for a day. A row that is gone without this was lost, by a failover
-- or a jump of the clock, and its replica may answer still.
CREATE TABLE IF NOT EXISTS departures (
    replica uuid        PRIMARY KEY,
    at      timestamptz NOT NULL
);

-- Whether the replica's build will say so there. One that is older does not: its row is just gone.
ALTER TABLE replicas ADD COLUMN IF NOT EXISTS marks_leaving boolean NOT NULL DEFAULT false;
