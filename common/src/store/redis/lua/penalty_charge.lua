-- KEYS the accounts
-- ARGV half-life, first, longest, memory (ms), the node, how many facts are remembered, the ceiling in bans, the most
--      strikes; then for each account: restrict, disconnect, ban (points), weight, its facts
--      (`what|weight|count` a line)
-- → the store's time; then for each account: p t n s u l, and the step that was taken now
local half_life, first, longest, memory = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local node, remembered, ceiling, most = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = now_ms()
local answer = { string.format('%.0f', now) }

local function remember(key, facts)
  if facts == '' then return end
  local lines = {}
  for line in string.gmatch(redis.call('HGET', key, 'e') or '', '[^\n]+') do lines[#lines + 1] = line end
  for line in string.gmatch(facts, '[^\n]+') do
    lines[#lines + 1] = string.format('%.0f', now) .. '|' .. node .. '|' .. line
  end
  local from = math.max(#lines - remembered, 0) + 1
  redis.call('HSET', key, 'e', table.concat(lines, '\n', from))
end

for at, key in ipairs({ unpack(KEYS, 1, #KEYS - 1) }) do
  local base = 8 + (at - 1) * 5
  local restrict, disconnect, ban = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  local weight = math.max(tonumber(ARGV[base + 4]) or 0, 0)
  local a = account_of(key)
  local points = math.min(points_at(a, half_life, now) + weight, ban * ceiling)
  local strikes = strikes_at(a, memory, now)
  if strikes < a.n then a.s = math.max(a.s, a.u) + (a.n - strikes) * memory end
  local stands = now < a.u and a.l or 0
  a.p, a.t, a.n, a.l = points, math.max(a.t, now), strikes, stands
  local worth = points >= ban and 3 or points >= disconnect and 2 or points >= restrict and 1 or 0
  local step = 0
  if worth > stands then
    a.n = math.min(a.n + 1, most)
    a.s = now
    local delay = first * 2 ^ (a.n - 1)
    a.u = math.max(a.u, now + math.min(math.max(delay, falls(points, restrict / 2, half_life)), longest))
    a.l, step = worth, worth
  end
  redis.call('HSET', key, 'p', string.format('%.17g', a.p), 't', string.format('%.0f', a.t), 'n', a.n,
    's', string.format('%.0f', a.s), 'u', string.format('%.0f', a.u), 'l', a.l)
  remember(key, ARGV[base + 5])
  local forgotten = a.n == 0 and 0 or math.max(a.s, a.u) + (a.n + 1) * memory - now
  local matters = math.max(falls(math.max(points_at(a, half_life, now), 0.5), 0.5, half_life), a.u - now, forgotten, 1)
  redis.call('PEXPIRE', key, string.format('%.0f', matters))
  for _, value in ipairs({ a.p, a.t, a.n, a.s, a.u, a.l, step }) do
    answer[#answer + 1] = string.format('%.17g', value)
  end
end
return answer
