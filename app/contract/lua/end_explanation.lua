-- requires: change
-- requires: statistics
-- requires: blocks
-- requires: service_times

-- Ends an explanation, if it may be changed, together with all that is kept of its end. Returns what `change` does.
-- KEYS  1-6 those of `change`, 7 statistics; only for one that succeeds: 8 the reuse index's entry, 9 service_times
-- ARGV  1 bounds of the buckets of durations as a JSON array of texts, 2 what the keys of explanations begin with,
--       3 blocks that others with the same masks can use, or '', 4 name of its work, 5 seconds that its masks took,
--       or '' where others took a part, 6 masks that it might have used, 7 fading of service_times, then those of `change`
local arguments = {unpack(ARGV, 8)}
local changed = change(KEYS, arguments)
if changed == 1 then
  count_ended(KEYS[7], KEYS[1], cjson.decode(ARGV[1]))
  if ARGV[3] ~= '' then remember_blocks(KEYS[8], arguments[1], ARGV[3], arguments[4], ARGV[2]) end
  if ARGV[5] ~= '' then record_service_time(KEYS[9], ARGV[4], ARGV[5], ARGV[6], ARGV[7]) end
end
return changed
