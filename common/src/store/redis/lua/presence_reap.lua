-- ARGV 3 the node   4 its epoch   5 at most how many
-- → how many were taken out

local node, epoch, limit = ARGV[3], ARGV[4], tonumber(ARGV[5])
local freed = 0
while freed < limit do
  local sids = redis.call('SPOP', KEYS[3], limit - freed)
  if #sids == 0 then
    break
  end
  for _, sid in ipairs(sids) do
    local here = member(sid)
    if here and here.node == node and here.epoch == epoch then
      take_out(sid, here.user)
      freed = freed + 1
    end
  end
end
unlist()
return freed
