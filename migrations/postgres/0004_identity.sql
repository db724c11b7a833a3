-- Which journal this is, and the format level that reading what it holds needs, which is only ever raised. A copy of the
-- database has the same identity: what tells the two apart is the server that runs each. Always one row. It may be
-- there already, if a backup from before this migration was restored over it.
CREATE TABLE IF NOT EXISTS journal (
    single   boolean  PRIMARY KEY DEFAULT true CHECK (single),
    identity uuid     NOT NULL DEFAULT gen_random_uuid(),
    level    smallint NOT NULL DEFAULT 1 CHECK (level > 0)
);

INSERT INTO journal DEFAULT VALUES ON CONFLICT DO NOTHING;
