-- A subscriber comes: the room's place now, the room made when it is new, and kept from being forgotten.
-- KEYS room, history
-- ARGV epoch for a new room, ms a room lingers
local run = server()
local epoch = order_of(run) or begin_order(run, ARGV[1])
keep_room(tonumber(ARGV[2]))
return epoch .. ':' .. (redis.call('HGET', KEYS[1], 'offset') or '0')
