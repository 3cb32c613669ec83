-- KEYS 1 the ticket   ARGV 1 its record   2 how long it is good (ms)

if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
