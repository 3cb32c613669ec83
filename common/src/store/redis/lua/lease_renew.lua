-- → 1 renewed | 0 this life does not hold it

if holder() ~= ARGV[2] then
  return 0
end
keep()
return 1
