-- The pool that an ad names, if it names one: a pool that ads name is not deleted. The ad's own bytes say it too. The column may
-- be there already, if a backup from before this migration was restored over it.
ALTER TABLE ads ADD COLUMN IF NOT EXISTS pool uuid;

CREATE INDEX IF NOT EXISTS ads_by_pool ON ads (pool) WHERE pool IS NOT NULL;
