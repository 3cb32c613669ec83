-- The fence of a partition: the number of the latest term in which a leader wrote here. No TTL: forgetting it would let
-- an old leader in. Joined in front of everything that a leader runs, and called before anything is changed.

local function fence(key, term)
  local seen = tonumber(redis.call('GET', key) or 0)
  if seen > tonumber(term) then
    error({ err = 'FENCED a later leader has written' })
  end
  if seen < tonumber(term) then
    redis.call('SET', key, term)
  end
end
