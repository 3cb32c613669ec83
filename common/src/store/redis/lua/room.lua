-- One room's members; joined in front of every presence_*.lua.
--
-- KEYS  1 members: session → `version node epoch user`   2 users: user → its sessions here
--       3 the sessions here of one life of a node   4 the rooms of the partition with members of that life
-- ARGV  1 the room's name in indexes   2 how long all this is kept (ms)   3… the script's own
--
-- A session that resumed elsewhere leaves its old life's set stale until that life takes it out or is reaped.

local VERSION = '1'

local function member(sid)
  local value = redis.call('HGET', KEYS[1], sid)
  if not value then
    return nil
  end
  local version, node, epoch, user = string.match(value, '^(%S+) (%S+) (%S+) (.+)$')
  if version ~= VERSION then
    error({ err = 'VERSION a member of an unknown form' })
  end
  return { node = node, epoch = epoch, user = user }
end

-- One session of the user less; true: it was the last.
local function uncount(user)
  if redis.call('HINCRBY', KEYS[2], user, -1) > 0 then
    return false
  end
  redis.call('HDEL', KEYS[2], user)
  return true
end

local function take_out(sid, user)
  redis.call('HDEL', KEYS[1], sid)
  return uncount(user)
end

-- The life has nobody here any more: the room is none of its rooms.
local function unlist()
  if redis.call('SCARD', KEYS[3]) == 0 then
    redis.call('SREM', KEYS[4], ARGV[1])
  end
end

local function change(user_changed)
  return { redis.call('HLEN', KEYS[1]), user_changed and 1 or 0 }
end
