-- ARGV 3–6 the holder   7 the token   8 the window (ms)
-- → {} | {seq} | {seq, newcomer}

local holder = holder_at(3)
local place, slot = find(holder)
local answer = {}
if slot and slot.state == 'E' then
  answer = release(holder)
elseif slot then
  local ends = NOW + tonumber(ARGV[8])
  forget_lapsed_token(slot)
  arm(slot, ARGV[7], ends)
  slot.state, slot.ends = 'D', ends
  if slot.before ~= '-' then
    slot.before_ends = ends
  end
  touch(slot)
  answer = { int(next_seq()) }
end
save()
index(holder.node, holder.epoch)
return answer
