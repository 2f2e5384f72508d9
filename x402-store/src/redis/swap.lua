-- The index of a space names the open records in it, each with the moment at which it expires.
local record, index = KEYS[1], KEYS[2]
local seen, stamp, state, open, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6]
local keep = tonumber(ARGV[5])

local found = read(record)
if stamp ~= '' and found[1] == stamp then
  return { 'done' }
end
local as_seen = found[1] == seen
if seen == '' then
  as_seen = #found == 0
end
if not as_seen then
  return { 'lost', unpack(found) }
end

if stamp == '' then
  redis.call('DEL', record)
  redis.call('ZREM', index, id)
  return { 'done' }
end
local at = now()
redis.call('HSET', record, 'stamp', stamp, 'state', state, 'at', string.format('%.0f', at))
redis.call('PEXPIRE', record, ARGV[5])
if open == '0' then
  redis.call('ZREM', index, id)
  return { 'done' }
end
redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.0f', at))
redis.call('ZADD', index, string.format('%.0f', at + keep), id)
-- The index outlives the last that is in it, and no longer.
if redis.call('PTTL', index) < keep then
  redis.call('PEXPIRE', index, ARGV[5])
end
return { 'done' }
