-- ARGV 5 at most how many nodes   6 at most how many lives
-- → 1 taken | 0 another life holds it | -1 there are too many nodes

local epoch = holder()
if epoch and epoch ~= ARGV[2] then
  return 0
end
if not epoch then
  local raw = redis.call('HGETALL', KEYS[1])
  local count = 0
  for i = 1, #raw, 2 do
    if running(raw[i + 1]) then
      count = count + 1
    else
      redis.call('HDEL', KEYS[1], raw[i])
    end
  end
  if count >= tonumber(ARGV[5]) then
    return -1
  end
end
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[6]) then
  redis.call('HSET', KEYS[2], ARGV[2], VERSION .. ' ' .. ARGV[1])
end
keep()
return 1
