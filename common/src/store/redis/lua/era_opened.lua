-- Every partition is in the era.
-- ARGV 3 the era
-- → as era_look.lua

local record = load()
if here(record) and record.era == ARGV[3] and record.state == 'opening' then
  redis.call('HSET', KEYS[1], 'state', 'open', 'at', string.format('%.0f', NOW))
  record = load()
end
return describe(record)
