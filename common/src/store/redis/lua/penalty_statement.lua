-- KEYS 1 the account
-- → the store's time; and if there is one: p t n s u l, its facts (`at|node|what|weight|count` a line)
local now = string.format('%.0f', now_ms())
if redis.call('EXISTS', KEYS[1]) == 0 then return { now } end
local a = account_of(KEYS[1])
local answer = { now }
for _, value in ipairs({ a.p, a.t, a.n, a.s, a.u, a.l }) do
  answer[#answer + 1] = string.format('%.17g', value)
end
answer[#answer + 1] = redis.call('HGET', KEYS[1], 'e') or ''
return answer
