-- ARGV 3–6 the holder
-- → {} | {seq} | {seq, newcomer}

local holder = holder_at(3)
local answer = release(holder)
save()
index(holder.node, holder.epoch)
return answer
