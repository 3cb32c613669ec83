-- What the scripts of the control log share.

-- No number of ours is larger than 2^53.
local function number_of(text)
  return math.min(tonumber(text) or 0, 9007199254740992)
end

-- Which log of which server this is. A log that was copied to another server, or went back there, is another.
local function life_of(life)
  local info = redis.pcall('INFO', 'server')
  local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
  return server .. ':' .. (redis.call('GET', life) or '')
end

-- The number of the last entry that the stream ever had; 0: none.
local function last_of(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return 0 end
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return number_of(string.match(info[at + 1], '^(%d+)'))
    end
  end
  return 0
end

-- The same for the whole log: a stream that was lost goes on behind its snapshot.
local function head_of(stream, pointer)
  return math.max(last_of(stream), number_of(redis.call('HGET', pointer, 'covers') or '0'))
end
