-- ARGV: the id of the entry whose chain is asked for.
local id, length = top()
return { id, redis.call('GET', KEYS[2]), length, chain_at(ARGV[1]) }
