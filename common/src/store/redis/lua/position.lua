-- A subscriber comes: the room's place now, the room made when it is new, and kept from being forgotten.
-- KEYS room, history
-- ARGV epoch for a new room, ms a room lingers
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0)
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return epoch .. ':' .. (redis.call('HGET', KEYS[1], 'offset') or '0')
