-- One user's slots: the rules of the session ledger. Joined in front of every ledger_*.lua.
--
-- KEYS  1 the user's slots   2 the partition's last seq   3 who has slots of the caller's life (absent where none is known)
-- ARGV  1 the user's name in indexes   2 how long all this is kept (ms)   3… the script's own
--
-- A slot is one field of the hash, by session id; its value is words:
--   version node epoch generation born since state ends token before before_ends by_sid by_node by_epoch by_generation
-- `born` is the seq at which the session began to count: the order of age. state is L (live), D (detached until `ends`)
-- or E (evicting by by_*). `before` is the token before `token`, good until `before_ends`. Times are ms. `-` is nothing.

local VERSION = '1'
local RETRY_FULL, RETRY_PASSING = '5000', '1000'

local clock = redis.call('TIME')
local NOW_US = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local NOW = math.floor(NOW_US / 1000)
local KEEP = tonumber(ARGV[2])

local function int(n)
  return string.format('%.0f', n)
end

local slots = {} -- oldest first
local gone, dirty = {}, {}
local last

-- The next seq: larger than every one before in this partition, whatever the clock did; never less than the time, so
-- that it grows over a loss of all data too.
local function next_seq()
  last = last or tonumber(redis.call('GET', KEYS[2]) or 0)
  last = math.max(last + 1, NOW_US)
  return last
end

local function parse(sid, value)
  local w = {}
  for word in string.gmatch(value, '%S+') do
    w[#w + 1] = word
  end
  if w[1] ~= VERSION or #w ~= 15 then
    error({ err = 'VERSION a slot of an unknown form' })
  end
  local slot = {
    sid = sid, node = w[2], epoch = w[3], generation = w[4], born = tonumber(w[5]), since = w[6], state = w[7],
    ends = tonumber(w[8]) or 0, token = w[9], before = w[10], before_ends = tonumber(w[11]) or 0,
  }
  if slot.state == 'E' then
    slot.by = { sid = w[12], node = w[13], epoch = w[14], generation = w[15] }
  end
  return slot
end

local function text(slot)
  local by = slot.by or { sid = '-', node = '-', epoch = '-', generation = '-' }
  return table.concat({
    VERSION, slot.node, slot.epoch, slot.generation, int(slot.born), slot.since, slot.state, int(slot.ends), slot.token,
    slot.before, int(slot.before_ends), by.sid, by.node, by.epoch, by.generation,
  }, ' ')
end

-- A detached slot whose window has ended is no slot.
local function load()
  local raw = redis.call('HGETALL', KEYS[1])
  for i = 1, #raw, 2 do
    local slot = parse(raw[i], raw[i + 1])
    if slot.state == 'D' and slot.ends <= NOW then
      gone[slot.sid] = true
    else
      slots[#slots + 1] = slot
    end
  end
  table.sort(slots, function(a, b) return a.born < b.born end)
end

local function touch(slot)
  dirty[slot.sid] = slot
end

local function put(holder, seq)
  local slot = {
    sid = holder.sid, node = holder.node, epoch = holder.epoch, generation = holder.generation, born = seq,
    since = int(NOW), state = 'L', ends = 0, token = '-', before = '-', before_ends = 0,
  }
  slots[#slots + 1] = slot
  gone[slot.sid] = nil
  touch(slot)
end

local function drop(place)
  local slot = table.remove(slots, place)
  dirty[slot.sid] = nil
  gone[slot.sid] = true
  return slot
end

local function live(slot)
  slot.state, slot.by, slot.ends = 'L', nil, 0
  touch(slot)
end

-- How long the slots have to be kept: those of users who are only awaited go with the last window.
local function keep()
  local ends = 0
  for _, slot in ipairs(slots) do
    if slot.state ~= 'D' then
      return KEEP
    end
    ends = math.max(ends, slot.ends)
  end
  return math.min(math.max(ends - NOW, 1), KEEP)
end

local function save()
  for sid in pairs(gone) do
    redis.call('HDEL', KEYS[1], sid)
  end
  local changed = false
  for sid, slot in pairs(dirty) do
    redis.call('HSET', KEYS[1], sid, text(slot))
    changed = true
  end
  if changed or (last and #slots > 0) then
    redis.call('PEXPIRE', KEYS[1], int(keep()))
  end
  if last then
    redis.call('SET', KEYS[2], int(last))
  end
end

-- Keeps the index of a life (KEYS[3]) true of this user: listed while a slot with a socket, or a wait, is of that life.
-- Where a slot changes its life without the old one being asked, the old entry stays until that life asks or is reaped.
local function index(node, epoch)
  for _, slot in ipairs(slots) do
    local holds = slot.state ~= 'D' and slot.epoch == epoch and slot.node == node
    local waits = slot.by and slot.by.epoch == epoch and slot.by.node == node
    if holds or waits then
      redis.call('SADD', KEYS[3], ARGV[1])
      redis.call('PEXPIRE', KEYS[3], int(KEEP))
      return
    end
  end
  redis.call('SREM', KEYS[3], ARGV[1])
end

local function holder_at(i)
  return { sid = ARGV[i], node = ARGV[i + 1], epoch = ARGV[i + 2], generation = ARGV[i + 3] }
end

local function same(a, b)
  return a.sid == b.sid and a.epoch == b.epoch and a.generation == b.generation
end

local function find(holder)
  for place, slot in ipairs(slots) do
    if same(slot, holder) then
      return place, slot
    end
  end
end

local function awaited_by(newcomer)
  for _, slot in ipairs(slots) do
    if slot.by and same(slot.by, newcomer) then
      return slot
    end
  end
end

local function add(answer, holder)
  for _, word in ipairs({ holder.sid, holder.node, holder.epoch, holder.generation }) do
    answer[#answer + 1] = word
  end
  return answer
end

-- A slot as lists show it.
local function describe(slot)
  local answer = add({}, slot)
  for _, word in ipairs({ slot.state, int(slot.ends), slot.since }) do
    answer[#answer + 1] = word
  end
  return slot.by and add(answer, slot.by) or answer
end

-- Takes a slot away from its holder: to the newcomer that waits for it, or to nobody. Answers the seq and the newcomer.
local function vacate(place)
  local seq = next_seq()
  local by = drop(place).by
  if by then
    put(by, seq)
  end
  return seq, by
end

-- {} where nothing matched, {seq}, or {seq, newcomer}.
local function release(holder)
  local place = find(holder)
  if not place then
    return {}
  end
  local seq, by = vacate(place)
  return by and add({ int(seq) }, by) or { int(seq) }
end

local function forget_lapsed_token(slot)
  if slot.before ~= '-' and slot.before_ends <= NOW then
    slot.before, slot.before_ends = '-', 0
  end
end

-- At most two tokens are good at once: one between them that was never proved is dropped.
local function arm(slot, token, ends)
  if token == slot.token or token == slot.before then
    return
  end
  if slot.before == '-' and slot.token ~= '-' then
    slot.before, slot.before_ends = slot.token, ends
  end
  slot.token = token
end

load()
