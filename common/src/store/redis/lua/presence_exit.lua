-- ARGV 3 the session   4 the epoch by which it is to be here
-- → {sessions, whether the user has none left}

local sid, epoch = ARGV[3], ARGV[4]
redis.call('SREM', KEYS[3], sid)
unlist()
local here = member(sid)
if not here or here.epoch ~= epoch then
  return change(false)
end
return change(take_out(sid, here.user))
