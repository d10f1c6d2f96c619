-- announce.lua: note where a server's record stands among those of its kind, which asynq's tools read; a stale one is left to readers.
--   flags allow-oom: with memory full, a server that lives must not count as gone
--   KEYS  1 records of a kind (ZSET)
--   ARGV  1 expiry (Unix s)   2 key of the record
--   ->    1
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
return 1
