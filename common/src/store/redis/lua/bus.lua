-- What the scripts of the bus share.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Drops entries of the history that were kept at or before `limit` (ms), the oldest first, at most so many.
local function forget_old(history, limit, most)
  for _ = 1, most do
    local oldest = redis.call('XRANGE', history, '-', '+', 'COUNT', 1)[1]
    if not oldest then return end
    local at = tonumber(oldest[2][2])
    if at and at > limit then return end
    redis.call('XDEL', history, oldest[1])
  end
end
