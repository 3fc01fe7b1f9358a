-- Writes what the node says of itself, then reads how the log goes on, at one instant.
--
-- KEYS: the node's own row, the ids of all nodes, the head of the log, its entries.
-- ARGV: what the node has applied, its id, after which position, how many entries, the time if it is not Redis's own.
local time = redis.call('TIME')
local millis = ARGV[5]
if millis == '' then
  millis = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
redis.call('SET', KEYS[1], '{"at":' .. millis .. ',"applied":' .. ARGV[1] .. '}')
redis.call('SADD', KEYS[2], ARGV[2])
local head = redis.call('GET', KEYS[3])
local entries = redis.call('ZRANGE', KEYS[4], '(' .. ARGV[3], '+inf', 'BYSCORE', 'LIMIT', '0', ARGV[4])
return { head, entries, time }
