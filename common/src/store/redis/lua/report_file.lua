-- KEYS 1 the reports   ARGV 1 a sealed report   2 at most how many   3 how long they are kept (ms)
local place = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'r', ARGV[1])
if type(place) == 'table' and place.err then
  -- an entry in an impossible place: somebody spoiled the stream, and it begins anew
  redis.call('DEL', KEYS[1])
  redis.call('XADD', KEYS[1], '*', 'r', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
