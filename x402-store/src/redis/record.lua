-- What all scripts know of a record: a hash of its stamp, its state and when it was written.

-- Milliseconds, by the server's clock.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Stamp, state and age of a record; nothing where there is none; an empty string for what is not as it was written.
local function read(record)
  local kept = redis.call('HMGET', record, 'stamp', 'state', 'at')
  local at = tonumber(kept[3] or nil)
  if kept[1] and kept[2] and at then
    return { kept[1], kept[2], string.format('%.0f', math.max(0, now() - at)) }
  end
  if redis.call('EXISTS', record) == 0 then
    return {}
  end
  return { kept[1] or '', kept[2] or '', '' }
end
