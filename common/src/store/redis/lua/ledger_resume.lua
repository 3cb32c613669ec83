-- ARGV 3 the token   4 the newcomer's node   5 its epoch
-- → {} | {seq, holder before, L or D before, holder now, since}

local token, node, epoch = ARGV[3], ARGV[4], ARGV[5]

-- Good while the slot is live or detached in its window (`load` dropped the others), not while it is evicting.
local function wins(slot)
  if slot.state == 'E' then
    return false
  end
  return slot.token == token or (slot.before == token and slot.before_ends > NOW)
end

local answer = {}
for _, slot in ipairs(slots) do
  if wins(slot) and tonumber(slot.generation) < 4294967295 then
    answer[1] = int(next_seq())
    add(answer, slot)[6] = slot.state
    slot.token, slot.before, slot.before_ends = token, '-', 0
    slot.node, slot.epoch, slot.generation = node, epoch, int(tonumber(slot.generation) + 1)
    add(answer, slot)[11] = slot.since
    live(slot)
    break
  end
end
save()
if #answer > 0 then
  index(node, epoch)
end
return answer
