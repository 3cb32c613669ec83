-- → the slots, oldest first, each {sid, node, epoch, generation, state, ends, since} and, if evicting, the newcomer

local answer = {}
for _, slot in ipairs(slots) do
  answer[#answer + 1] = describe(slot)
end
return answer
