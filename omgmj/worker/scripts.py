"""The Lua scripts: what has to happen at once in Redis, each with its keys and arguments.

An ID of a batch stands in one of the batch's sets of all IDs, and in the set of pending ones beside it until its result
is in the stream. To take it out of the pending ones is the mark that its result was written.
"""

from __future__ import annotations

HAND_IN = """
-- KEYS: meta, batches, contexts, stream, wake, then for each group its set of all and its set of pending IDs.
-- ARGV: name, layers as they were read, layers from now on, expiry (s), most IDs that the wake-up names,
--       then for each group how many IDs, the IDs, and their contexts ('' for none).
local layers = redis.call('HGET', KEYS[1], 'layers') or ''
if layers ~= ARGV[2] and layers ~= ARGV[3] then return -1 end
if layers ~= ARGV[3] then redis.call('HSET', KEYS[1], 'layers', ARGV[3], 'last', 0) end
if layers == '' then
    -- No two lives of a name have the same versions, or a leader that knows the last one would miss the next.
    local now = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'version', now[1] .. string.format('%06d', now[2]))
end
local expiry, at, added, named = ARGV[4], 6, 0, {}
for group = 6, #KEYS, 2 do
    local count, ids, contexts = tonumber(ARGV[at]), {}, {}
    for i = 1, count do ids[i] = ARGV[at + i] end
    local known, new, texts = redis.call('SMISMEMBER', KEYS[group], unpack(ids)), {}, {}
    for i = 1, count do
        if known[i] == 0 then
            new[#new + 1] = ids[i]
            named[#named + 1] = ids[i]
            local text = ARGV[at + count + i]
            if text ~= '' then texts[#texts + 1] = ids[i]; texts[#texts + 1] = text end
        end
    end
    at = at + 1 + 2 * count
    if #new > 0 then
        added = added + #new
        redis.call('SADD', KEYS[group], unpack(new))
        redis.call('SADD', KEYS[group + 1], unpack(new))
        redis.call('EXPIREAT', KEYS[group], expiry)
        redis.call('EXPIREAT', KEYS[group + 1], expiry)
    end
    if #texts > 0 then redis.call('HSET', KEYS[3], unpack(texts)); redis.call('HSET', KEYS[1], 'contexts', 1) end
end
redis.call('HINCRBY', KEYS[1], 'total', added)
redis.call('HINCRBY', KEYS[1], 'last', added)
redis.call('HSET', KEYS[1], 'expiry', expiry)
if added > 0 then
    local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
    local names = #named <= tonumber(ARGV[5]) and table.concat(named, ',') or ''
    redis.call('XADD', KEYS[5], 'MAXLEN', '~', 1000, '*', 'b', ARGV[1], 'v', version, 'a', names)
end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIREAT', KEYS[1], expiry)
redis.call('EXPIREAT', KEYS[3], expiry)
redis.call('EXPIREAT', KEYS[4], expiry)
redis.call('EXPIREAT', KEYS[5], expiry)
return added
"""

FINISH = """
-- KEYS: meta, stream, contexts, lease, wake, then for each ID its sets of pending IDs, one for each layer.
-- ARGV: the lease's holder ('' for who is no leader, and tells it), layers as they were read, name,
--       then for each ID itself, the letter of its end, and its packed outcome.
if ARGV[1] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[1] then return -2 end
local meta = redis.call('HMGET', KEYS[1], 'layers', 'contexts', 'expiry')
if not meta[1] then return 0 end
if meta[1] ~= ARGV[2] then return -1 end
local count = (#ARGV - 3) / 3
local layers, counts, written, gone, ids, contexts, refused = (#KEYS - 5) / count, {}, 0, {}, {}, {}, nil
for i = 1, count do ids[i] = ARGV[1 + 3 * i] end
if meta[2] then contexts = redis.call('HMGET', KEYS[3], unpack(ids)) end
for i, id in ipairs(ids) do
    local kind, outcome = ARGV[2 + 3 * i], ARGV[3 + 3 * i]
    for layer = layers, 1, -1 do
        local pending = KEYS[5 + (i - 1) * layers + layer]
        if redis.call('SREM', pending, id) == 1 then
            local added = redis.pcall('XADD', KEYS[2], '*', 'i', id, 'r', outcome, 'c', contexts[i] or '')
            if type(added) == 'table' and added.err then
                redis.call('SADD', pending, id)  -- Refused, by an ACL say: the mark goes with the result.
                refused = added.err
            else
                counts[kind] = (counts[kind] or 0) + 1
                written = written + 1
                gone[#gone + 1] = id
            end
            break
        end
    end
    if refused then break end
end
if written > 0 then
    for kind, count in pairs(counts) do redis.call('HINCRBY', KEYS[1], kind, count) end
    if meta[2] then redis.call('HDEL', KEYS[3], unpack(gone)) end
    redis.call('EXPIREAT', KEYS[2], meta[3])
    if ARGV[1] == '' then
        local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
        redis.call('XADD', KEYS[5], 'MAXLEN', '~', 1000, '*', 'b', ARGV[3], 'v', version, 'x', table.concat(gone, ','))
    end
end
if refused then return redis.error_reply(refused) end
return written
"""

MOVE = """
-- KEYS: meta. ARGV: field of a reader's place, the place. A batch that has gone stays gone: its keys would never go.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
"""

RENEW = """
-- KEYS: lease. ARGV: holder, milliseconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

TAKE = """
-- KEYS: lease. ARGV: holder, milliseconds. Whoever holds it already, takes it again.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

RELEASE = """
-- KEYS: lease. ARGV: holder.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
