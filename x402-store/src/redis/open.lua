-- A page of the open records of a space: where the next one begins, then id, stamp, state and age of each. The server does
-- nothing else while a script runs, so the pages are small.
local index, cursor, records = KEYS[1], ARGV[1], ARGV[2]

local scanned = redis.call('ZSCAN', index, cursor, 'COUNT', 100)
local page = { scanned[1] }
for i = 1, #scanned[2], 2 do
  local id = scanned[2][i]
  local found = read(records .. id)
  -- Expired, where there is none: the index forgets it when it is next written.
  if #found > 0 then
    page[#page + 1] = id
    for _, field in ipairs(found) do
      page[#page + 1] = field
    end
  end
end
return page
