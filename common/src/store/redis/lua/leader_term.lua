-- → {} nobody leads | {id, number, ms left}

if not running then
  return {}
end
return { running.id, int(running.number), int(running.ends - NOW) }
