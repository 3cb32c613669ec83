-- KEYS the log, its life
-- Answers {the store's time in ms, the number of the last entry, which log of which server that is}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local life = server .. ':' .. (redis.call('GET', KEYS[2]) or '')
return {string.format('%.0f', now), string.format('%.0f', last_of(KEYS[1])), life}
