-- The term of the leading coordinator; joined in front of every leader_*.lua.
--
-- KEYS  1 the last term: `version id life fence until`, until in ms of the store's time. No TTL: the next number has to
--         be larger than this one
-- ARGV  1 the candidate's id   2 its life   3 its term's number   4 how long (ms)

local VERSION = '1'

local clock = redis.call('TIME')
local NOW_US = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local NOW = math.floor(NOW_US / 1000)

local function int(n)
  return string.format('%.0f', n)
end

local function last_term()
  local value = redis.call('GET', KEYS[1])
  if not value then
    return nil
  end
  local version, id, life, number, ends = string.match(value, '^(%S+) (%S+) (%S+) (%d+) (%d+)$')
  if version ~= VERSION then
    error({ err = 'VERSION a term of an unknown form' })
  end
  return { id = id, life = life, number = tonumber(number), ends = tonumber(ends) }
end

local last = last_term()
local running = last and last.ends > NOW and last or nil

-- Writes the candidate's term; it ends in `ttl` ms.
local function write(number, ttl)
  redis.call('SET', KEYS[1], table.concat({ VERSION, ARGV[1], ARGV[2], int(number), int(NOW + ttl) }, ' '))
end

-- Whether the caller's term runs.
local function mine()
  return running and running.life == ARGV[2] and int(running.number) == ARGV[3]
end
