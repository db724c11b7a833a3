-- Shared by the scripts: what the stream says of itself.
-- KEYS[1] is the stream; KEYS[2] is the mark, the chain at the stream's top followed by the top's id.

-- The newest id that the stream ever had, which a trimmed stream keeps; 0-0 if it never had one.
local function top()
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return '0-0', 0
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  local id, length
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      id = info[i + 1]
    elseif info[i] == 'length' then
      length = info[i + 1]
    end
  end
  return id, length
end

-- The chain of the entry with this id; nothing if it is not there, empty if it has none.
local function chain_at(id)
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if not entry then
    return false
  end
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'chain' then
      return fields[i + 1]
    end
  end
  return ''
end
