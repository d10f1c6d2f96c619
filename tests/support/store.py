"""Store: a queue as it stands in Redis, read key by key, without TaskFlow's own reading code."""

from __future__ import annotations

from typing import Any, cast

import redis

from taskflow.wire import asynq_pb2


def texts(values: list[bytes]) -> list[str]:
    return [value.decode(errors="replace") for value in values]


class Store:
    """One queue's keys."""

    def __init__(self, client: redis.Redis, queue: str = "default") -> None:
        self.client: Any = client
        self.queue = queue

    def key(self, name: str) -> str:
        return f"asynq:{{{self.queue}}}:{name}"

    def list(self, name: str) -> list[str]:
        """The ids of `pending` or `active`, left to right: the next to run stands last."""
        return texts(self.client.lrange(self.key(name), 0, -1))

    def scores(self, name: str) -> dict[str, float]:
        """The ids of a sorted set with their scores."""
        return {member.decode(): score for member, score in self.client.zrange(self.key(name), 0, -1, withscores=True)}

    def due(self) -> dict[str, float]:
        """The exact due times."""
        pairs = self.client.zrange(f"taskflow:{{{self.queue}}}:due", 0, -1, withscores=True)
        return {member.decode(): score for member, score in pairs}

    def hash(self, task_id: str) -> dict[str, bytes]:
        return {name.decode(): value for name, value in self.client.hgetall(self.key(f"t:{task_id}")).items()}

    def state(self, task_id: str) -> str | None:
        value = self.client.hget(self.key(f"t:{task_id}"), "state")
        return None if value is None else cast("str", value.decode())

    def message(self, task_id: str) -> asynq_pb2.TaskMessage:
        return asynq_pb2.TaskMessage.FromString(self.hash(task_id)["msg"])

    def text(self, name: str) -> str | None:
        value = self.client.get(self.key(name))
        return None if value is None else cast("str", value.decode())

    def number(self, name: str) -> int:
        """A counter, 0 if it is not there."""
        return int(self.text(name) or 0)

    def snapshot(self) -> dict[str, Any]:
        """Every key of the server with its value: equal snapshots mean that nothing was written."""
        return snapshot(self.client)


def snapshot(client: Any) -> dict[str, Any]:
    """Return every key of the server with its value."""
    readers = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    return {key.decode(errors="replace"): readers[client.type(key)](key) for key in client.scan_iter(count=1000)}
