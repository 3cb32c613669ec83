-- KEYS 1 the ticket
-- → its record, to the first who asks

return redis.call('GETDEL', KEYS[1])
