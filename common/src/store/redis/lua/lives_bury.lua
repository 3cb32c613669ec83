-- → 1 forgotten | 0 it was not remembered, or its lease runs

if holder() == ARGV[2] then
  return 0
end
local lease = redis.call('HGET', KEYS[1], ARGV[1])
if lease and string.match(lease, '^%S+ (%S+) %d+$') == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return redis.call('HDEL', KEYS[2], ARGV[2])
