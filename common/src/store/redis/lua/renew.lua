-- The store went back in time: the room's order begins anew, unless somebody did that already.
-- KEYS room, history
-- ARGV the epoch that is over, the new one, ms a room lingers
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
begin_order(server(), ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
