-- KEYS the log, its life, the pointer to its snapshot
-- ARGV which log of which server was read, the id of its snapshot, the numbers of entries that it can do without
-- Answers how many were there. Another log has other entries under these numbers, and what a snapshot that is gone knew may
-- have been written again: then nothing is taken out.
if life_of(KEYS[2]) ~= ARGV[1] then return 0 end
if (redis.call('HGET', KEYS[3], 'id') or '') ~= ARGV[2] then return 0 end
local gone = 0
for at = 3, #ARGV do
  gone = gone + redis.call('XDEL', KEYS[1], ARGV[at] .. '-0')
end
return gone
