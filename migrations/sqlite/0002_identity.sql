-- Which journal this is, and the format level that reading what it holds needs, which is only ever raised. Always one row.
CREATE TABLE journal (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    identity BLOB    NOT NULL CHECK (length(identity) = 16),
    level    INTEGER NOT NULL CHECK (level > 0)
) STRICT;

INSERT INTO journal (only, identity, level) VALUES (1, randomblob(16), 1);
