-- Takes a room's message: once, into the order, into what is kept, and out to the subscribers.
-- KEYS room, history, once
-- ARGV channel, sealed record, epoch for a new room, ms a room lingers, ms an id is remembered (0: none),
--      count kept (0: not kept), ms kept, PUBLISH or SPUBLISH, this server (told by the connection: asking costs as much
--      as all the rest)
-- Answers {1 for a duplicate, else 0; place}, a place being epoch:offset.
local sealed, linger, window = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local count, age = tonumber(ARGV[6]), tonumber(ARGV[7])

if window > 0 then
  local first = redis.call('GET', KEYS[3])
  if first then return {1, first} end
end

local epoch = order_of(ARGV[9]) or begin_order(ARGV[9], ARGV[3])
local offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'offset', 1))
local place = epoch .. ':' .. offset

if window > 0 then
  redis.call('SET', KEYS[3], place, 'PX', window)
end

if count > 0 then
  local now = now_ms()
  redis.call('HSET', KEYS[1], 'age', ARGV[7])
  local add = function()
    return redis.pcall('XADD', KEYS[2], 'MAXLEN', count, offset .. '-0', 't', string.format('%.0f', now), 'd', sealed)
  end
  local added = add()
  if type(added) == 'table' and added.err then
    -- somebody else wrote there: what is kept begins anew
    redis.call('DEL', KEYS[2])
    add()
  end
  forget_old(KEYS[2], now - age, 64)
  redis.call('PEXPIRE', KEYS[2], age + 1000)
  linger = math.max(linger, age)
end
keep_room(linger)
redis.call(ARGV[8], ARGV[1], place .. ':' .. sealed)
return {0, place}
