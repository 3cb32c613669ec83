-- Which server this is: another one after every start, and a replica is not its master. Joined in front of what asks.
local function server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
end
