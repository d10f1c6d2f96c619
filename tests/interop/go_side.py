"""Go's side: asynq's client and inspector, through the peer."""

from __future__ import annotations

from typing import Any

from interop.go_peer import GoPeer, Reply, base64_text
from interop.sides import DEFAULT, Refused

_NO_END = 2**63 - 1
_GO_SAYS = (
    ("duplicate", "duplicate"),
    ("conflict", "id taken"),
    ("queue is not empty", "queue not empty"),
    ("cannot remove queue with active tasks", "task active"),
    ("active state", "task active"),
    ("already running", "task active"),
    ("already in pending state", "wrong state"),
    ("already archived", "wrong state"),
    ("not in scheduled state", "wrong state"),
    ("found in zset", "being aggregated"),
    ("task not found", "task not found"),
    ("cannot find task", "task not found"),
    ("queue not found", "queue not found"),
    ("does not exist", "queue not found"),
    ("already paused", "paused already"),
    ("is not paused", "not paused"),
    ("queue name", "invalid"),
    ("cannot be empty", "invalid"),
    ("cannot be less than", "invalid"),
    ("must contain one or more characters", "invalid"),
)
"""Part of a text of asynq's -> the word; the first that fits counts."""


class GoSide:
    """asynq's client and inspector."""

    name = "go"

    def __init__(self, peer: GoPeer) -> None:
        self.peer = peer

    async def _ask(self, op: str, **fields: Any) -> Any:
        answer = await self.peer.ask(op, **fields)
        if answer["ok"]:
            return answer["value"]
        text = answer["error"]
        raise Refused(next((word for part, word in _GO_SAYS if part in text), "unknown"), text)

    async def enqueue(self, task_type: str, payload: bytes | None = None, **options: Any) -> Reply:
        for name in ("timeout", "process_in", "unique", "retention"):
            if options.get(name) is not None:
                options[name] = f"{options[name]}s"
        task = {"type": task_type, "payload": None if payload is None else base64_text(payload), **options}
        stored: Reply = await self._ask("enqueue", task=task)
        return stored

    async def task(self, task_id: str, queue: str = DEFAULT) -> Reply:
        return _comparable(await self._ask("task", queue=queue, id=task_id))

    async def list(self, state: str, queue: str = DEFAULT, *, group: str = "", page: int = 1, size: int = 50) -> Any:
        tasks = await self._ask("list", queue=queue, state=state, group=group, page=page, size=size)
        return [_comparable(task) for task in tasks]

    async def queues(self) -> Any:
        return await self._ask("queues")

    async def queue_info(self, queue: str = DEFAULT) -> Reply:
        info: Reply = await self._ask("queue_info", queue=queue)
        return {name: value for name, value in info.items() if name not in {"timestamp", "memory_usage"}}

    async def groups(self, queue: str = DEFAULT) -> Any:
        return sorted(await self._ask("groups", queue=queue), key=lambda group: group["group"])

    async def servers(self) -> Any:
        found = await self._ask("servers")
        for server in found:
            server["active_workers"].sort(key=lambda worker: worker["task_id"])
        return sorted(found, key=lambda server: server["id"])

    async def history(self, days: int, queue: str = DEFAULT) -> Any:
        return await self._ask("history", queue=queue, days=days)

    async def memory(self, queue: str = DEFAULT) -> int:
        return int((await self._ask("queue_info", queue=queue))["memory_usage"])

    async def scheduler_events(self, entry_id: str, *, page: int = 1, size: int = 30) -> Any:
        return await self._ask("scheduler_events", id=entry_id, page=page, size=size)

    async def run(self, task_id: str, queue: str = DEFAULT) -> None:
        await self._ask("run_task", queue=queue, id=task_id)

    async def archive(self, task_id: str, queue: str = DEFAULT) -> None:
        await self._ask("archive_task", queue=queue, id=task_id)

    async def delete(self, task_id: str, queue: str = DEFAULT) -> None:
        await self._ask("delete_task", queue=queue, id=task_id)

    async def update_payload(self, task_id: str, payload: bytes, queue: str = DEFAULT) -> None:
        await self._ask("update_payload", queue=queue, id=task_id, payload=base64_text(payload))

    async def run_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        return int(await self._ask("run_all", queue=queue, state=state, group=group))

    async def archive_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        return int(await self._ask("archive_all", queue=queue, state=state, group=group))

    async def delete_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        return int(await self._ask("delete_all", queue=queue, state=state, group=group))

    async def cancel(self, task_id: str) -> None:
        await self._ask("cancel", id=task_id)

    async def pause(self, queue: str = DEFAULT) -> None:
        await self._ask("pause", queue=queue)

    async def unpause(self, queue: str = DEFAULT) -> None:
        await self._ask("unpause", queue=queue)

    async def delete_queue(self, queue: str = DEFAULT, *, force: bool = False) -> None:
        await self._ask("delete_queue", queue=queue, force=force)


def _comparable(task: Reply) -> Reply:
    """Asynq's words for a task without what is known to differ: it calls a pending task due now, and has times that we have not."""
    known = dict(task)
    if known["state"] == "pending":
        known["next_process_at"] = 0
    if known["deadline"] == _NO_END:
        known["deadline"] = 0
    return known
