-- Reads what is in the stream after an id, without waiting.
-- KEYS[1] is the stream. ARGV: the id, the most entries, and the most bytes of their fields, which the first entry
-- alone may exceed. A few entries are looked at beyond what fits.
local last, entries, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local page, size = {}, 0
while #page < entries do
  local read = redis.call('XREAD', 'COUNT', math.min(16, entries - #page), 'STREAMS', KEYS[1], last)
  if not read then
    break
  end
  for _, entry in ipairs(read[1][2]) do
    for _, field in ipairs(entry[2]) do
      size = size + #field
    end
    if #page > 0 and size > bytes then
      return page
    end
    page[#page + 1] = entry
    last = entry[1]
  end
end
return page
