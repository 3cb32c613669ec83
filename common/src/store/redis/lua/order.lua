-- A room's order: its epoch, and which server gave its offsets. Joined in front of every script that has to do with one.
--
-- KEYS  1 the room: epoch, offset, run (of that server), age (ms that messages are kept)   2 its history
--
-- An order that another server gave out is over: a copy that became the server may lack the last offsets, and would give
-- them out once more.

local function order_of(run)
  local room = redis.call('HMGET', KEYS[1], 'epoch', 'run')
  return room[1] and room[2] == run and room[1] or nil
end

local function begin_order(run, epoch)
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'run', run)
  return epoch
end

-- At least so many ms from now, and at most an eighth longer: most messages find that somebody said so before.
local function keep_room(linger)
  if redis.call('PTTL', KEYS[1]) < linger then
    redis.call('PEXPIRE', KEYS[1], math.floor(linger * 1.125))
  end
end
