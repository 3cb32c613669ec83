-- ARGV 3–6 the victim
-- → {} | {seq, newcomer}

local victim = holder_at(3)
local place, slot = find(victim)
local answer = {}
if slot and slot.state == 'E' then
  answer = release(victim)
end
save()
index(victim.node, victim.epoch)
return answer
