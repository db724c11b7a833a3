-- Replicas that have taken themselves off the register, for a day. A row that is gone without this was lost, by a failover
-- or a jump of the clock, and its replica may answer still.
CREATE TABLE departures (
    replica uuid        PRIMARY KEY,
    at      timestamptz NOT NULL
);

-- Whether the replica's build will say so there. One that is older does not: its row is just gone.
ALTER TABLE replicas ADD COLUMN marks_leaving boolean NOT NULL DEFAULT false;
