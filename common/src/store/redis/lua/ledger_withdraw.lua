-- ARGV 3–6 the newcomer
-- → {} | {seq} | {seq, next newcomer}

local newcomer = holder_at(3)
local victim = awaited_by(newcomer)
local answer
if victim then
  live(victim)
  answer = { int(next_seq()) }
else
  answer = release(newcomer)
end
save()
index(newcomer.node, newcomer.epoch)
return answer
