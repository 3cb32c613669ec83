-- Whether this is the caller's era; joined in front of every script that decides. The partition says in which era it is,
-- and of which server that was told: a copy that became the server, or one that started again, is another one.
--
-- KEYS  last: the partition's era, `era run_id`   ARGV  last: the caller's era

if redis.call('GET', KEYS[#KEYS]) ~= ARGV[#ARGV] .. ' ' .. server() then
  return redis.error_reply('ERA the store is of another era')
end
