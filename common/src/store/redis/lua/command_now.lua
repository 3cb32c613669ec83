-- KEYS 1 the commands (so that a cluster knows whom to ask)
-- → the server's time in ms

local time = redis.call('TIME')
return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
