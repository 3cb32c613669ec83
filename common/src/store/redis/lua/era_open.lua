-- KEYS 2 the leases
-- ARGV 3 the era that is lost, or empty   4 eight hexadecimal digits   5 ms that are kept for strangers
--      6 at most how many members   7… the members
-- → as era_look.lua: the era that was opened, or the one that somebody else opened

local record = load()
local stuck = record.state == 'opening' and NOW - tonumber(record.at) > OPENING
if here(record) and record.era ~= ARGV[3] and not stuck then
  return describe(record)
end

local function number(era)
  return tonumber(string.match(era or '', '^(%d+)%-')) or 0
end

local members = {}
for i = 7, #ARGV do
  members[ARGV[i]] = true
end
local leases = redis.call('HGETALL', KEYS[2])
for i = 1, #leases, 2 do
  local ends = string.match(leases[i + 1], '^%S+ %S+ (%d+)$')
  if ends and tonumber(ends) > NOW then
    members[leases[i]] = true
  end
end
local count = 0
for _ in pairs(members) do
  count = count + 1
end
if count > tonumber(ARGV[6]) then
  return redis.error_reply('OOM too many members')
end

-- later than everything that anybody here knows of
local next = math.max(NOW_US, number(record.era) + 1, number(ARGV[3]) + 1)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', VERSION, 'era', string.format('%016.0f', next) .. '-' .. ARGV[4], 'run', RUN,
  'state', 'opening', 'at', string.format('%.0f', NOW), 'hold', ARGV[5])
for node in pairs(members) do
  redis.call('HSET', KEYS[1], 'm:' .. node, 'w')
end
return describe(load())
