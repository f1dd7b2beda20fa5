-- Takes in how long an explanation took: adds to sums that fade with every explanation.
--   service_times  key of the hash; it has two fields for each work, faded sums of seconds and of masks
--   work           name of what is measured together
--   seconds        that the explanation took
--   masks          that it might have used
--   fading         factor of what was known before
local function record_service_time(service_times, work, seconds, masks, fading)
  for name, value in pairs({[work .. ' seconds'] = seconds, [work .. ' masks'] = masks}) do
    local faded = (redis.call('HGET', service_times, name) or 0) * fading + value
    redis.call('HSET', service_times, name, string.format('%.17g', faded))
  end
end
