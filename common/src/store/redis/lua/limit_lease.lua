-- Charges a count for what was used, and leases what there is: the generic cell rate algorithm, whose state is the
-- theoretical arrival time (TAT). Gives back how much was granted, and in how many µs there is another token.
--
-- Times are µs since 2025-10-09, with two decimals: a double holds them to 0.06 µs until 2040, and rounding to whole
-- ones would cost a fast limit some of its burst. A thousandth of a token is forgiven for the rest of the rounding.
--
-- KEYS 1 the count   ARGV 1 ns a token   2 ns of the burst   3 tokens used already   4 tokens wanted   5 nodes

local interval, tolerance = ARGV[1] / 1000, ARGV[2] / 1000
local used, want, nodes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = (time[1] - 1760000000) * 1000000 + time[2]

local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
-- hardly further ahead than all nodes' tokens on credit: what a clock that went back left is healed by that
tat = math.min(tat + used * interval, now + tolerance + 2 * nodes * interval)

local left = math.max(0, math.floor((now + tolerance - tat) / interval + 0.001))
local granted = math.min(want, math.max(1, math.floor(left / nodes)), left)
tat = tat + granted * interval
if tat > now then
  redis.call('SET', KEYS[1], string.format('%.2f', tat), 'PX', string.format('%.0f', math.ceil((tat - now) / 1000) + 1))
end

local wait = tat + interval - now - tolerance
if wait <= interval * 0.001 then
  wait = 0
end
return { string.format('%.0f', granted), string.format('%.0f', math.ceil(wait)) }
