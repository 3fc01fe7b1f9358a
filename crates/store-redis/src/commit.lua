-- Changes rows if all that was read is as it was. Answers 0, or which of the rows read has changed, counted from 1.
--
-- KEYS: the mark of this commit, the rows read, the rows written, whatever else the commands name.
-- ARGV: how many rows were read, were written, how many commands there are; what was read (empty: no row); of each row
--   written its new value (empty: none) and for how many milliseconds it is kept (0: until it is removed); of each
--   command how many words it has, and the words.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local reads, writes, commands = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 1, reads do
  if (redis.call('GET', KEYS[1 + i]) or '') ~= ARGV[3 + i] then
    return i
  end
end
local at = 3 + reads
for i = 1, writes do
  local key, value, keep = KEYS[1 + reads + i], ARGV[at + 1], ARGV[at + 2]
  at = at + 2
  if value == '' then
    redis.call('DEL', key)
  elseif keep == '0' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', keep)
  end
end
for _ = 1, commands do
  local words = {}
  local count = tonumber(ARGV[at + 1])
  for i = 1, count do
    words[i] = ARGV[at + 1 + i]
  end
  at = at + 1 + count
  redis.call(unpack(words))
end
redis.call('SET', KEYS[1], '1', 'PX', 60000)
return 0
