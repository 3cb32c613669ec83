-- → 1 given up | 0 this life does not hold it

if holder() ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
return redis.call('HDEL', KEYS[1], ARGV[1])
