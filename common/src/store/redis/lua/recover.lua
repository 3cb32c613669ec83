-- What a room kept after a place.
-- KEYS room, history
-- ARGV epoch (empty: whichever it is), offset, how many at most
-- Answers {} for an unknown room, and for one whose order is over, else {epoch, offset, id, record, id, record, …}.
if not order_of(server()) then return {} end
local room = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'age')
local answer = {room[1], room[2] or '0'}
local limit = tonumber(ARGV[3])
if room[1] ~= ARGV[1] or limit == 0 then return answer end
if tonumber(ARGV[2]) >= (tonumber(answer[2]) or 0) then return answer end
forget_old(KEYS[2], now_ms() - (tonumber(room[3]) or 0), 10000)
local kept = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', '+', 'COUNT', limit)
for _, entry in ipairs(kept) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][4] or ''
end
return answer
