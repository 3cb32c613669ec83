-- KEYS 1 the reports   ARGV 1, 2 the place to begin behind   3 at most how many   4 how far a place may be ahead (ms)
-- → the store's time (ms), then place and sealed report of each

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local from = '(' .. ARGV[1] .. '-' .. ARGV[2]
if tonumber(ARGV[1]) > now + tonumber(ARGV[4]) then
  -- another server, or a clock that was set back
  from = '-'
end
local answer = { string.format('%.0f', now) }
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[3])) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][2] or ''
end
return answer
