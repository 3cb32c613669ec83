-- ARGV 3 the session   4 its node   5 the node's epoch   6 the user
-- → {sessions, whether the user is new here}

local sid, node, epoch, user = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local before = member(sid)
redis.call('HSET', KEYS[1], sid, table.concat({ VERSION, node, epoch, user }, ' '))
redis.call('SADD', KEYS[3], sid)
redis.call('SADD', KEYS[4], ARGV[1])
local first = false
if not before or before.user ~= user then
  if before then
    uncount(before.user)
  end
  first = redis.call('HINCRBY', KEYS[2], user, 1) == 1
end
for i = 1, 4 do
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
return change(first)
