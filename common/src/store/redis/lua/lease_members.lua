-- → {node, epoch, ms left, …} of the leases that run

local raw = redis.call('HGETALL', KEYS[1])
local answer = {}
for i = 1, #raw, 2 do
  local epoch, ends = running(raw[i + 1])
  if epoch then
    for _, word in ipairs({ raw[i], epoch, string.format('%.0f', ends - NOW) }) do
      answer[#answer + 1] = word
    end
  end
end
return answer
