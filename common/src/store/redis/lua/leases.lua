-- All leases of the fleet; joined in front of every lease_*.lua. There are few nodes, and they are one decision.
--
-- KEYS  1 the leases: node → `version epoch until`, until in ms of the store's time
--       2 lives that may leave something behind: epoch → `version node`, from the lease to its return or its burial
-- ARGV  1 the node   2 its epoch   3 how long (ms)   4 how long all this is kept (ms)   5… the script's own

local VERSION = '1'

local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- The epoch and the end of a lease that still runs.
local function running(value)
  local version, epoch, ends = string.match(value or '', '^(%S+) (%S+) (%d+)$')
  if value and version ~= VERSION then
    error({ err = 'VERSION a lease of an unknown form' })
  end
  if value and tonumber(ends) > NOW then
    return epoch, tonumber(ends)
  end
end

local function holder()
  return (running(redis.call('HGET', KEYS[1], ARGV[1]) or nil))
end

local function keep()
  local ends = string.format('%.0f', NOW + tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], ARGV[1], table.concat({ VERSION, ARGV[2], ends }, ' '))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end

-- The node of a life.
local function life(value)
  local version, node = string.match(value, '^(%S+) (%S+)$')
  if version ~= VERSION then
    error({ err = 'VERSION a life of an unknown form' })
  end
  return node
end
