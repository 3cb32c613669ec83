-- ARGV 3–6 the holder
-- → {} | {seq}

local place, slot = find(holder_at(3))
local answer = {}
if slot and slot.before ~= '-' then
  slot.before, slot.before_ends = '-', 0
  touch(slot)
  answer = { int(next_seq()) }
end
save()
return answer
