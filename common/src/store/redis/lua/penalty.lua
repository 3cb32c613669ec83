-- Accounts of penalties: the arithmetic of common/src/penalty.rs, step by step.

-- No number of ours is larger than 2^53.
local function whole(text)
  return math.min(tonumber(text) or 0, 9007199254740992)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A hash: p points, t when, n strikes, s the last strike, u kept out until, l the step.
local function account_of(key)
  local read = redis.call('HMGET', key, 'p', 't', 'n', 's', 'u', 'l')
  return {
    p = tonumber(read[1]) or 0, t = whole(read[2]), n = whole(read[3]), s = whole(read[4]), u = whole(read[5]),
    l = whole(read[6]),
  }
end

local function log2(x)
  return math.log(x) / math.log(2)
end

local function falls(points, to, half_life)
  return math.ceil(math.max(log2(points / to), 0) * half_life)
end

local function points_at(a, half_life, now)
  return a.p * 2 ^ (-math.max(now - a.t, 0) / half_life)
end

local function strikes_at(a, memory, now)
  return math.max(a.n - math.floor(math.max(now - math.max(a.s, a.u), 0) / memory), 0)
end
