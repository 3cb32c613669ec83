-- ARGV 3–6 the holder   7 the cap   8 reject or evict_oldest
-- → {held, seq} | {evicting, seq, victim} | {full, ms}

local holder, cap = holder_at(3), tonumber(ARGV[7])

local function full()
  for _, slot in ipairs(slots) do
    if slot.state == 'E' then
      return { 'full', RETRY_PASSING }
    end
  end
  return { 'full', RETRY_FULL }
end

-- The sid has a slot: the same session on the same node, perhaps in its next life, or an old holder.
local function reassert(slot)
  if slot.node ~= holder.node or slot.generation ~= holder.generation then
    return { 'full', RETRY_FULL }
  end
  slot.epoch = holder.epoch
  touch(slot)
  if slot.state == 'D' then
    live(slot)
  end
  return { 'held', int(next_seq()) }
end

-- The sid waits for this slot: the same session on the same node, perhaps in its next life, or another holder.
local function rewait(victim)
  local by = victim.by
  if by.node ~= holder.node or by.generation ~= holder.generation then
    return { 'full', RETRY_FULL }
  end
  by.epoch = holder.epoch
  touch(victim)
  return add({ 'evicting', int(next_seq()) }, victim)
end

local function evict_oldest()
  for _, slot in ipairs(slots) do
    if slot.state == 'L' then
      slot.state, slot.by = 'E', holder
      touch(slot)
      return add({ 'evicting', int(next_seq()) }, slot)
    end
  end
  return full()
end

local function make_room(surplus)
  local place = 1
  while surplus > 0 do
    if slots[place].state == 'D' then
      drop(place)
      surplus = surplus - 1
    else
      place = place + 1
    end
  end
end

local function decide()
  local detached = 0
  for _, slot in ipairs(slots) do
    if slot.sid == holder.sid then
      return reassert(slot)
    end
    if slot.state == 'D' then
      detached = detached + 1
    end
  end
  for _, slot in ipairs(slots) do
    if slot.by and slot.by.sid == holder.sid then
      return rewait(slot)
    end
  end
  if cap == 0 then
    return { 'full', RETRY_FULL }
  end
  local surplus = math.max(#slots + 1 - cap, 0)
  if surplus > detached then
    return ARGV[8] == 'evict_oldest' and evict_oldest() or full()
  end
  make_room(surplus)
  local seq = next_seq()
  put(holder, seq)
  return { 'held', int(seq) }
end

local answer = decide()
save()
if answer[1] ~= 'full' then
  index(holder.node, holder.epoch)
end
return answer
