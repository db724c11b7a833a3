-- How long after the end of its lease a replica answers no reads any more, in microseconds; NULL if it goes on.
ALTER TABLE replicas ADD COLUMN refuses_after bigint;
