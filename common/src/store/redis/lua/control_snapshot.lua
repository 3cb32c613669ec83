-- KEYS the log, its life, the pointer, the new pages, the pages before (or the new ones again)
-- ARGV which log of which server was read, the id of the snapshot before, the id of the new one, the place it covers, its pages,
--      its meta record, how long (ms) replaced pages last
-- → 1 it is the snapshot now, and the stream is trimmed behind it | 0 the log or its snapshot is another
if life_of(KEYS[2]) ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[3], 'id') or '') ~= ARGV[2] then return 0 end
if redis.call('HLEN', KEYS[4]) ~= tonumber(ARGV[5]) then return 0 end
if head_of(KEYS[1], KEYS[3]) < tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[3], 'id', ARGV[3], 'covers', ARGV[4], 'meta', ARGV[6])
redis.call('PERSIST', KEYS[4])
if KEYS[5] ~= KEYS[4] then
  redis.call('PEXPIRE', KEYS[5], ARGV[7])
end
redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f', tonumber(ARGV[4]) + 1))
return 1
