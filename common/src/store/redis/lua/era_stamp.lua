-- KEYS 1 the partition's era
-- ARGV 1 the era   2 until when it may be told (ms of the store's time): later it might hide that it was lost again
-- → 1 it is in this era now | 0 it is in a later one, or it is too late

local clock = redis.call('TIME')
if tonumber(clock[1]) * 1000 + tonumber(clock[2]) / 1000 > tonumber(ARGV[2]) then
  return 0
end
local present = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) ')
if present and present > ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. server())
return 1
