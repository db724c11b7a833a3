-- The queries of k6/query.js for wrk, which reaches rates that k6 does not and checks no more than the status.

local countries = { "TW", "HK", "JP", "US", "KR", "CN" }
local genders = { "F", "M" }
local platforms = { "android", "ios", "web" }
local limits = { 5, 10, 15 }
local requests = {}
local sent = 0

local function pick(values)
  return values[math.random(#values)]
end

-- Made beforehand, since making one takes longer than answering it.
function init()
  math.randomseed(os.time())
  for number = 1, 4096 do
    requests[number] = wrk.format("GET", string.format(
      "/api/v1/ad?age=%d&gender=%s&country=%s&platform=%s&limit=%d&offset=%d",
      math.random(100), pick(genders), pick(countries), pick(platforms), pick(limits), math.random(0, 9)))
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  if failed > 0 then
    io.stderr:write(string.format("load: %d of %d requests failed\n", failed, summary.requests))
    os.exit(1)
  end
end
