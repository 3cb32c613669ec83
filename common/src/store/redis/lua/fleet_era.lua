-- The fleet's era; joined in front of every era_*.lua.
--
-- KEYS  1 a hash: version, era, run (of the server that was told), state (opening, open), at (ms of the store's time when
--         it got there), hold (ms), and for every member that was named `m:node` → w (waited for) or d (done)
-- ARGV  1 how long members are waited for (ms)   2 how long an opening may take (ms)   3… the script's own

local VERSION = '1'
local PATIENCE, OPENING = tonumber(ARGV[1]), tonumber(ARGV[2])

local clock = redis.call('TIME')
local NOW_US = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local NOW = math.floor(NOW_US / 1000)
local RUN = server()

local function load()
  local raw = redis.call('HGETALL', KEYS[1])
  local found, waiting = {}, 0
  for i = 1, #raw, 2 do
    found[raw[i]] = raw[i + 1]
    if string.sub(raw[i], 1, 2) == 'm:' and raw[i + 1] == 'w' then
      waiting = waiting + 1
    end
  end
  if found.version and found.version ~= VERSION then
    error({ err = 'VERSION an era of an unknown form' })
  end
  found.waiting = waiting
  return found
end

-- Nothing where this server was not told of it.
local function here(record)
  return record.era and record.run == RUN
end

-- → {} | {era, state, whether it is whole, how many are waited for}
local function describe(record)
  if not here(record) then
    return {}
  end
  local age = NOW - tonumber(record.at)
  local heard = record.waiting == 0 and age >= tonumber(record.hold)
  local whole = record.state == 'open' and (heard or age >= PATIENCE)
  return { record.era, record.state, whole and '1' or '0', string.format('%.0f', record.waiting) }
end
