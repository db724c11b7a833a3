-- The pool that an ad names, if it names one: a pool that ads name is not deleted. The ad's own bytes say it too.
ALTER TABLE ads ADD COLUMN pool BLOB;

CREATE INDEX ads_by_pool ON ads (pool) WHERE pool IS NOT NULL;
