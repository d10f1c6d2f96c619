"""Image: everything that Redis holds of a queue at one moment, read by one script without TaskFlow's own reading code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from taskflow.wire import asynq_pb2

SCRIPT = """
local found = {}
local function read(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then return redis.call('HGETALL', key) end
  if kind == 'list' then return redis.call('LRANGE', key, 0, -1) end
  if kind == 'set' then return redis.call('SMEMBERS', key) end
  if kind == 'zset' then return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if kind == 'string' then return { redis.call('GET', key), tostring(redis.call('TTL', key)) } end
  return { kind }
end
for _, pattern in ipairs(ARGV) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    found[#found + 1] = key
    found[#found + 1] = read(key)
  end
end
return found
"""
LISTS = ("pending", "active")
SETS = ("scheduled", "retry", "archived", "completed")


@dataclass
class Image:
    """A queue as it stood at one moment.

    Attributes:
        lists: Ids of `pending` and `active`, left to right.
        sets: Ids with scores, of `scheduled`, `retry`, `archived`, `completed`, `lease` and `due`.
        groups: Members of each group, by its name.
        closed: Members of each closed set, by its key.
        named: The names in the set of groups.
        hashes: The tasks, by id.
        locks: Holder and TTL (s) of each unique lock, by key.
        outbox: Notices of ended tasks, by their id.
        others: The other keys of the queue: counters, marks.

    """

    queue: str
    lists: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    closed: dict[str, list[str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    locks: dict[str, tuple[str, int]] = field(default_factory=dict)
    outbox: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every (id, state) that a list or a set stands for."""
        found = [(task_id, name) for name in LISTS for task_id in self.lists.get(name, [])]
        found += [(task_id, name) for name in SETS for task_id in self.sets.get(name, {})]
        for members in (*self.groups.values(), *self.closed.values()):
            found += [(task_id, "aggregating") for task_id in members]
        return found

    def state(self, task_id: str) -> str:
        """The state that a task's hash names, '' if there is none."""
        return self.hashes.get(task_id, {}).get("state", b"").decode(errors="replace")

    def message(self, task_id: str) -> asynq_pb2.TaskMessage:
        """A task's message."""
        return asynq_pb2.TaskMessage.FromString(self.hashes[task_id]["msg"])


def patterns(queue: str) -> list[str]:
    """Return what matches the keys of a queue: the script's arguments."""
    name = "".join(f"\\{c}" if c in "*?[]\\" else c for c in queue)
    return [f"asynq:{{{name}}}:*", f"taskflow:{{{name}}}:*"]


def read(client: Any, queue: str) -> Image:
    """Read a queue with a blocking client."""
    return parse(queue, client.eval(SCRIPT, 1, f"asynq:{{{queue}}}:pending", *patterns(queue)))


def parse(queue: str, reply: list[Any]) -> Image:
    """Return the image that the script's reply holds."""
    image = Image(queue)
    prefix = f"asynq:{{{queue}}}:"
    pairs = {_text(key): value for key, value in zip(reply[::2], reply[1::2], strict=True)}
    closed = {_text(key) for key in pairs.pop(prefix + "aggregation_sets", [])[::2]}
    for key, value in pairs.items():
        _place(image, key, key.removeprefix(prefix), value, closed)
    return image


def _place(image: Image, key: str, name: str, value: list[bytes], closed: set[str]) -> None:
    kind, _, rest = name.partition(":")
    if name in LISTS:
        image.lists[name] = [_text(task_id) for task_id in value]
    elif name in {*SETS, "lease"}:
        image.sets[name] = _scores(value)
    elif key == f"taskflow:{{{image.queue}}}:due":
        image.sets["due"] = _scores(value)
    elif key == f"taskflow:{{{image.queue}}}:outbox":
        image.outbox = {_text(notice_id): data for notice_id, data in zip(value[::2], value[1::2], strict=True)}
    elif name == "groups":
        image.named = {_text(group) for group in value}
    elif kind == "g" and rest:
        (image.closed if key in closed else image.groups)[rest] = list(_scores(value))
    elif kind == "t" and rest:
        image.hashes[rest] = {_text(field): data for field, data in zip(value[::2], value[1::2], strict=True)}
    elif kind == "unique" and rest:
        image.locks[key] = (_text(value[0]), int(value[1]))
    else:
        image.others[key] = value


def _scores(pairs: list[bytes]) -> dict[str, float]:
    return {_text(member): float(score) for member, score in zip(pairs[::2], pairs[1::2], strict=True)}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
