-- KEYS 1 the answers to one command   ARGV 1 an answer   2 at most how many   3 how long they are kept (ms)
-- → its place

local place = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'a', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return place
