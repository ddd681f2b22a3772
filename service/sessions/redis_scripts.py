"""The session rules in Lua, so that Redis itself decides them in one atomic step; the same rules as in rules.py.

A session is one hash: ``created`` (milliseconds since the epoch), ``version`` (counts the writes), ``v:NAME`` for a
value, ``n:NAME`` for a counter. A session that got another key leaves a hash behind for a while, with the note of the
move as ``moved``. All times are the server's own.

The first write of each script is one that a full server refuses (HSET): a script that has begun to write is carried
through, so none stops half-way.
"""

from hashlib import sha1

from service.sessions.store import MOVED_SECONDS

# How every script begins: what it knows of the session, in ``fields``, and what it may do to it.
_BEGINNING = f"local remember = {MOVED_SECONDS * 1000}\n"
_BEGINNING += """
local key = KEYS[1]
local idle, absolute = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number) return string.format('%.0f', number) end

local function slide(which, created)
  local expires = text(math.min(now + idle, created + absolute))
  redis.call('PEXPIREAT', which, expires)
  return expires
end

local function leave_mark(note)
  redis.call('HSET', key, 'moved', note)
  redis.call('DEL', key)
  redis.call('HSET', key, 'moved', note)
  redis.call('PEXPIRE', key, remember)
end

local flat = redis.call('HGETALL', key)
local fields = {}
for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
if fields.created and tonumber(fields.created) + absolute <= now then fields = {} end
"""


class Script:
    """A Lua script: its ``text``, and ``sha``, by which EVALSHA knows it."""

    def __init__(self, steps: str) -> None:
        self.text = _BEGINNING + steps
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


# KEYS: the session. ARGV: idle and absolute lifetime (ms). The fields, flat, with "expires" (ms) last; or nil.
READ = Script("""
if not fields.created then return nil end
flat[#flat + 1] = 'expires'
flat[#flat + 1] = slide(key, fields.created)
return flat
""")

# KEYS: the session and, if it is to move, its new key. ARGV: idle and absolute lifetime (ms), max_bytes, create (0, 1),
# note, then the parts of the change, each begun with how many there are: delete (name), set (name, value), expect, put
# (name, number), add (name, amount, limit).
# {"ok", counter, number …}, or {the refusal}.
APPLY = Script("""
local max_bytes, create, max_counter = tonumber(ARGV[3]), ARGV[4] == '1', 9007199254740991
local note, position = ARGV[5], 5
local function take() position = position + 1 return ARGV[position] end
local function bounded(number) return math.max(0, math.min(number, max_counter)) end

if fields.moved then return {'moved'} end
local is_new = not fields.created
if is_new and not create then return {'gone'} end

local before, after = 0, 0
local function size(name, content) return content and #name - 2 + #content or 0 end
for name, content in pairs(fields) do
  if name:sub(2, 2) == ':' then before = before + size(name, content) end
end
after = before

local writes, removes = {}, {}
local function put(name, content)
  after = after + size(name, content) - size(name, fields[name])
  fields[name], writes[name], removes[name] = content, content, nil
end
for _ = 1, take() do
  local name = 'v:' .. take()
  if fields[name] then
    after = after - size(name, fields[name])
    fields[name], removes[name] = nil, true
  end
end
for _ = 1, take() do
  local name = 'v:' .. take()
  put(name, take())
end
for _ = 1, take() do
  local name = 'n:' .. take()
  if tonumber(fields[name] or 0) ~= tonumber(take()) then return {'conflict'} end
end
for _ = 1, take() do
  local name = 'n:' .. take()
  put(name, text(bounded(tonumber(take()))))
end
for _ = 1, take() do
  local name = 'n:' .. take()
  local number = bounded(tonumber(fields[name] or 0) + tonumber(take()))
  if number > tonumber(take()) then return {'over-limit'} end
  put(name, text(number))
end
if after > max_bytes and after > before then return {'too-large'} end

local new_key = KEYS[2]
if new_key then
  redis.call('HSET', new_key, 'version', '1', 'created', fields.created)
  for name, content in pairs(fields) do
    if name:sub(2, 2) == ':' then redis.call('HSET', new_key, name, content) end
  end
  slide(new_key, fields.created)
  leave_mark(note)
else
  redis.call('HSET', key, 'version', text(tonumber(fields.version or 0) + 1))
  if is_new then
    -- What may be left is a session that has ended by now and was not removed yet.
    for i = 1, #flat, 2 do redis.call('HDEL', key, flat[i]) end
    redis.call('HSET', key, 'version', '1', 'created', text(now))
  end
  for name in pairs(removes) do redis.call('HDEL', key, name) end
  for name, content in pairs(writes) do redis.call('HSET', key, name, content) end
  slide(key, fields.created or now)
end
local reply = {'ok'}
for name, content in pairs(fields) do
  if name:sub(1, 2) == 'n:' then
    reply[#reply + 1] = name:sub(3)
    reply[#reply + 1] = content
  end
end
return reply
""")

# The note of a move, or nil.
NOTE = Script("return fields.moved")

# The session is ended, unless it has another key now. ARGV: idle and absolute lifetime (ms). "ok" or "moved".
DELETE = Script("""
if fields.moved then return 'moved' end
redis.call('DEL', key)
return 'ok'
""")
