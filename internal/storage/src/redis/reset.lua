-- Deletes the stream and its mark, if both are still the ones that the caller has seen.
-- ARGV: the id, and the mark ('' for none).
local id = top()
if id == ARGV[1] and (redis.call('GET', KEYS[2]) or '') == ARGV[2] then
  redis.call('DEL', KEYS[1], KEYS[2])
end
return false
