-- ARGV 3 the era   4 the member   5 w or d
-- → as era_look.lua; {} for another era

local record = load()
if not here(record) or record.era ~= ARGV[3] then
  return {}
end
local field = 'm:' .. ARGV[4]
local known = record[field]
-- who was not named need not say that it is done; who speaks up is heard until the era is whole
if ARGV[5] == 'd' and known or ARGV[5] == 'w' and not known and describe(record)[3] == '0' then
  redis.call('HSET', KEYS[1], field, ARGV[5])
end
return describe(load())
