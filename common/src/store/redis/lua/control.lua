-- What the scripts of the control log share.

-- The number of the last entry that the stream ever had; 0: none.
local function last_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return 0 end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return tonumber(string.match(info[at + 1], '^(%d+)')) or 0
    end
  end
  return 0
end
