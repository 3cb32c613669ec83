-- → 1 ended | 0 this term does not run

if not mine() then
  return 0
end
write(running.number, 0)
return 1
