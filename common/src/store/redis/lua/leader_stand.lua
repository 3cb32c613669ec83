-- → {'1', number} elected | {'0', id, number, ms left} somebody else leads

if running and running.life ~= ARGV[2] then
  return { '0', running.id, int(running.number), int(running.ends - NOW) }
end
-- never less than the time, so that numbers grow over a loss of all data too
local number = running and running.number or math.max((last and last.number or 0) + 1, NOW_US)
write(number, tonumber(ARGV[4]))
return { '1', int(number) }
