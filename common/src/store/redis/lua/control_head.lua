-- KEYS the log, its life, the pointer to its snapshot
-- Answers {the store's time in ms, the number of the last entry, which log of which server that is, the snapshot's id
-- (empty: none), the number of the last entry that it knows of}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local life = life_of(KEYS[2])
local id = redis.call('HGET', KEYS[3], 'id') or ''
local covers = number_of(redis.call('HGET', KEYS[3], 'covers') or '0')
return {
  string.format('%.0f', now), string.format('%.0f', head_of(KEYS[1], KEYS[3])), life, id, string.format('%.0f', covers),
}
