-- KEYS the log, its life, the pointer to its snapshot
-- ARGV the sealed entry, the most entries that the stream may hold, a life for a new log
-- Answers the entry's number; 0: full.
local there = redis.call('EXISTS', KEYS[1]) == 1
if there and redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return '0'
end
local next = head_of(KEYS[1], KEYS[3]) + 1
if next >= 9007199254740992 then
  -- the log begins anew, and the nodes bring back what is in force
  redis.call('DEL', KEYS[1], KEYS[3])
  there, next = false, 1
end
if not there or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], ARGV[3])
end
local id = string.format('%.0f', next)
redis.call('XADD', KEYS[1], id .. '-0', 'd', ARGV[1])
return id
