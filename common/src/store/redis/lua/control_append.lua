-- KEYS the log, its life, the pointer to its snapshot
-- ARGV the most entries that the stream may hold, a life for a new log, the sealed entries
-- Answers the number of the last of them; 0: full.
local there = redis.call('EXISTS', KEYS[1]) == 1
local count = #ARGV - 2
if there and redis.call('XLEN', KEYS[1]) + count > tonumber(ARGV[1]) then
  return '0'
end
local next = head_of(KEYS[1], KEYS[3]) + 1
if next + count >= 9007199254740992 then
  -- the log begins anew, and the nodes bring back what is in force
  redis.call('DEL', KEYS[1], KEYS[3])
  there, next = false, 1
end
if not there or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], ARGV[2])
end
for at = 3, #ARGV do
  redis.call('XADD', KEYS[1], string.format('%.0f', next + at - 3) .. '-0', 'd', ARGV[at])
end
return string.format('%.0f', next + count - 1)
