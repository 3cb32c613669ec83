-- ARGV 3–6 the holder   7 the token   8 how long the token before it stays good (ms)
-- → {} | {seq}

local place, slot = find(holder_at(3))
local answer = {}
if slot then
  forget_lapsed_token(slot)
  arm(slot, ARGV[7], NOW + tonumber(ARGV[8]))
  touch(slot)
  answer = { int(next_seq()) }
end
save()
return answer
