-- ARGV 3 at most how many users
-- → {sessions, user, …}

local answer = redis.call('HRANDFIELD', KEYS[2], ARGV[3])
table.insert(answer, 1, string.format('%.0f', redis.call('HLEN', KEYS[1])))
return answer
