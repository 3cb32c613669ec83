-- KEYS the log
-- Answers {the store's time in ms, the number of the last entry}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {string.format('%.0f', now), string.format('%.0f', last_of(KEYS[1]))}
