-- → 1 renewed | 0 this term does not run

if not mine() then
  return 0
end
write(running.number, tonumber(ARGV[4]))
return 1
