-- What the scripts of the control log share.

-- The number of the last entry that the stream ever had; 0: none. No number of ours is larger than 2^53.
local function last_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return 0 end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return math.min(tonumber(string.match(info[at + 1], '^(%d+)')) or 0, 9007199254740992)
    end
  end
  return 0
end
