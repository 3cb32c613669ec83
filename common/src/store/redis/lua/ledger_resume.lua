-- ARGV 3 the token   4 the newcomer's node   5 its epoch
-- → {} | {seq, holder before, holder now}

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
    local seq = next_seq()
    add(add(answer, slot), {
      sid = slot.sid, node = node, epoch = epoch, generation = int(tonumber(slot.generation) + 1),
    })
    table.insert(answer, 1, int(seq))
    slot.token, slot.before, slot.before_ends = token, '-', 0
    slot.node, slot.epoch, slot.generation = node, epoch, answer[9]
    live(slot)
    break
  end
end
save()
if #answer > 0 then
  index(node, epoch)
end
return answer
