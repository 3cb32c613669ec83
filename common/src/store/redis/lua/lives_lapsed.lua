-- → {node, epoch, …} of the lives that are remembered and hold no lease

local raw = redis.call('HGETALL', KEYS[2])
local answer = {}
for i = 1, #raw, 2 do
  local epoch, node = raw[i], life(raw[i + 1])
  if running(redis.call('HGET', KEYS[1], node) or nil) ~= epoch then
    answer[#answer + 1] = node
    answer[#answer + 1] = epoch
  end
end
return answer
