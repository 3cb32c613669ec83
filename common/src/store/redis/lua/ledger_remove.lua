-- ARGV 3 the session
-- → {} | the slot (see ledger_list.lua)

local sid = ARGV[3]

local function remove()
  for place, slot in ipairs(slots) do
    if slot.sid == sid then
      local answer = describe(slot)
      vacate(place)
      return answer
    end
  end
  for _, slot in ipairs(slots) do
    if slot.by and slot.by.sid == sid then
      live(slot)
      next_seq()
      break
    end
  end
  return {}
end

local answer = remove()
save()
return answer
