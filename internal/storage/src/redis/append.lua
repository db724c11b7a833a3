-- Appends entries if the stream's top is the expected one, and is the one that the mark speaks of.
-- ARGV: the expected id, the expected mark, the new mark, the most entries to keep ('' for no bound), for how many
-- seconds the keys are kept if nobody appends or trims, and then for each entry its id, its chain and its bytes, in
-- order and without holes.
-- Answers nothing if they went in; otherwise what status.lua answers about the last of them.
local id, length = top()
local mark = redis.call('GET', KEYS[2])
if id ~= ARGV[1] or (id ~= '0-0' and mark ~= ARGV[2]) then
  return { id, mark, length, chain_at(ARGV[#ARGV - 2]) }
end
for i = 6, #ARGV, 3 do
  redis.call('XADD', KEYS[1], ARGV[i], 'chain', ARGV[i + 1], 'entry', ARGV[i + 2])
end
redis.call('SET', KEYS[2], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return false
