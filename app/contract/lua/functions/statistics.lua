-- Functions that count what the whole service has done, in one hash. A field is the name of a metric and the values of
-- its labels, separated by `|`; of a histogram there is one field for each bucket, counted cumulatively as Prometheus
-- wants them, and one for the sum.

-- Returns the seconds of a time in ISO 8601, UTC, since a fixed day in the distant past.
local function seconds_of(iso)
  local year, month, day, hour, minute, second = string.match(iso, '(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)')
  year, month = tonumber(year), tonumber(month)
  if month < 3 then year, month = year - 1, month + 12 end  -- so that a leap day is the last day of its year
  local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  local days = 365 * year + leap_days + math.floor((153 * month - 457) / 5) + day
  return ((days * 24 + hour) * 60 + minute) * 60 + second
end

local function count_duration(statistics, metric, labels, seconds, bounds)
  for _, bound in ipairs(bounds) do
    if bound == '+Inf' or seconds <= tonumber(bound) then
      redis.call('HINCRBY', statistics, metric .. '_bucket|' .. labels .. '|' .. bound, 1)
    end
  end
  redis.call('HINCRBYFLOAT', statistics, metric .. '_sum|' .. labels, string.format('%.17g', seconds))
end

-- Counts an explanation that has just ended, or an audit, as the method `audit`.
--   statistics  key of the hash
--   record      key of the explanation
--   bounds      upper bounds of the buckets of durations, in seconds, as texts; the last one is '+Inf'
local function count_ended(statistics, record, bounds)
  local found = redis.call('HMGET', record, 'status', 'request', 'progress', 'created_at', 'started_at', 'finished_at')
  local status, request = cjson.decode(found[1]), cjson.decode(found[2])
  local method = string.sub(record, -6) == '-audit' and 'audit' or request.method
  local model, labels = request.model.id, request.model.id .. '|' .. method
  redis.call('HINCRBY', statistics, 'explanations|' .. status .. '|' .. labels, 1)
  if found[3] then
    redis.call('HINCRBY', statistics, 'masks|' .. labels, cjson.decode(found[3]).masks)
  end
  if found[5] then
    local created, started, finished = seconds_of(found[4]), seconds_of(found[5]), seconds_of(found[6])
    count_duration(statistics, 'queued_seconds', model, started - created, bounds)
    count_duration(statistics, 'running_seconds', labels, finished - started, bounds)
  end
end
