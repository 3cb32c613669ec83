-- ARGV 3 the node   4 its epoch   5 at most how many
-- → how many were freed

local node, epoch, limit = ARGV[3], ARGV[4], tonumber(ARGV[5])
for _, slot in ipairs(slots) do
  if slot.by and slot.by.epoch == epoch and slot.by.node == node then
    live(slot)
    next_seq()
  end
end
local freed, place = 0, 1
while freed < limit and place <= #slots do
  local slot = slots[place]
  if slot.epoch == epoch and slot.node == node and slot.state ~= 'D' then
    vacate(place)
    freed = freed + 1
  else
    place = place + 1
  end
end
save()
index(node, epoch)
return freed
