-- KEYS: a key that nothing else uses. ARGV: the namespace's channel.
-- Does all that the other scripts do, so that a missing right is found before anything is half done.
redis.call('INFO', 'replication')
redis.call('TIME')
redis.call('HSET', KEYS[1], 'may', 'write')
redis.call('HMGET', KEYS[1], 'may')
redis.call('HSCAN', KEYS[1], '0')
redis.call('HDEL', KEYS[1], 'may')
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], '')
return 1
