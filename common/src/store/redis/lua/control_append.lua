-- KEYS the log
-- ARGV the sealed entry, the most entries that the stream may hold
-- Answers the entry's number; 0: full.
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return '0'
end
local next = last_of(KEYS[1]) + 1
if next >= 9007199254740992 then
  -- no number of ours is so large: the log begins anew, and the nodes bring back what is in force
  redis.call('DEL', KEYS[1])
  next = 1
end
local id = string.format('%.0f', next)
redis.call('XADD', KEYS[1], id .. '-0', 'd', ARGV[1])
return id
