"""Python and Go as two sides that are asked the same things in the same words.

Options, states and answers have asynq's names and the forms of the Go peer: spans in seconds, times in Unix seconds, bytes as
base64. What either side refuses raises `Refused` with one word of a common vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from interop.go_peer import GoPeer, Reply, base64_text
from taskflow import Client, Inspector, QueueInfo, ScheduleStore, TaskFlowError, TaskInfo, TaskState, errors
from taskflow.task import ServerInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = "default"
_NO_END = 2**63 - 1


class Refused(Exception):
    """A side's error, as a word both sides know; `text` is what it said."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(f"{word}: {text}")
        self.word = word


async def refusal(call: Awaitable[Any]) -> str:
    """Return the word with which a call is refused; fail if it is not."""
    try:
        value = await call
    except Refused as refused:
        return refused.word
    raise AssertionError(f"not refused, but answered with {value!r}")


class Side(Protocol):
    """What a program can ask of its library: the client's and the inspector's operations."""

    name: str

    async def enqueue(self, task_type: str, payload: bytes | None = None, **options: Any) -> Reply:
        """Options: queue, max_retry, timeout, deadline, process_at, process_in, unique, task_id, retention, group, headers."""

    async def task(self, task_id: str, queue: str = DEFAULT) -> Reply: ...
    async def list(
        self, state: str, queue: str = DEFAULT, *, group: str = "", page: int = 1, size: int = 50
    ) -> Any: ...
    async def queues(self) -> Any: ...
    async def queue_info(self, queue: str = DEFAULT) -> Reply: ...
    async def groups(self, queue: str = DEFAULT) -> Any: ...
    async def servers(self) -> Any: ...
    async def history(self, days: int, queue: str = DEFAULT) -> Any: ...
    async def memory(self, queue: str = DEFAULT) -> int: ...
    async def scheduler_events(self, entry_id: str, *, page: int = 1, size: int = 30) -> Any: ...

    async def run(self, task_id: str, queue: str = DEFAULT) -> None: ...
    async def archive(self, task_id: str, queue: str = DEFAULT) -> None: ...
    async def delete(self, task_id: str, queue: str = DEFAULT) -> None: ...
    async def update_payload(self, task_id: str, payload: bytes, queue: str = DEFAULT) -> None: ...
    async def cancel(self, task_id: str) -> None: ...
    async def run_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int: ...
    async def archive_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int: ...
    async def delete_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int: ...
    async def pause(self, queue: str = DEFAULT) -> None: ...
    async def unpause(self, queue: str = DEFAULT) -> None: ...
    async def delete_queue(self, queue: str = DEFAULT, *, force: bool = False) -> None: ...


# -- Go ---------------------------------------------------------------------------------------------------------------

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


# -- Python -----------------------------------------------------------------------------------------------------------

_PYTHON_SAYS: tuple[tuple[type[TaskFlowError], str], ...] = (
    (errors.DuplicateTask, "duplicate"),
    (errors.TaskIdTaken, "id taken"),
    (errors.TaskActive, "task active"),
    (errors.QueueActive, "task active"),
    (errors.QueueNotEmpty, "queue not empty"),
    (errors.TaskFinished, "wrong state"),
    (errors.TaskPending, "wrong state"),
    (errors.TaskNotScheduled, "wrong state"),
    (errors.TaskNotFound, "task not found"),
    (errors.QueueNotFound, "queue not found"),
    (errors.InvalidOption, "invalid"),
)


@contextmanager
def _in_common_words() -> Iterator[None]:
    try:
        yield
    except TaskFlowError as error:
        word = next((word for kind, word in _PYTHON_SAYS if isinstance(error, kind)), None)
        if word is None:
            raise
        raise Refused(word, str(error)) from error


class PythonSide:
    """Our client and inspector."""

    name = "python"

    def __init__(self, client: Client, inspector: Inspector, schedules: ScheduleStore) -> None:
        self.client = client
        self.inspector = inspector
        self.schedules = schedules

    async def enqueue(self, task_type: str, payload: bytes | None = None, **options: Any) -> Reply:
        for name in ("timeout", "process_in", "unique", "retention"):
            if options.get(name) is not None:
                options[name] = timedelta(seconds=options[name])
        for name in ("deadline", "process_at"):
            if options.get(name) is not None:
                options[name] = datetime.fromtimestamp(options[name], UTC)
        if "max_retry" in options:
            options["max_retries"] = options.pop("max_retry")
        with _in_common_words():
            info = await self.client.enqueue(task_type, payload, **options)
        return {"id": info.id, "queue": info.queue, "state": info.state.value}

    async def task(self, task_id: str, queue: str = DEFAULT) -> Reply:
        with _in_common_words():
            return _task_reply(await self.inspector.task(task_id, queue))

    async def list(self, state: str, queue: str = DEFAULT, *, group: str = "", page: int = 1, size: int = 50) -> Any:
        with _in_common_words():
            found = await self.inspector.tasks(queue, TaskState(state), group=group or None, page=page - 1, size=size)
        return [_task_reply(info) for info in found]

    async def queues(self) -> Any:
        return await self.inspector.queues()

    async def queue_info(self, queue: str = DEFAULT) -> Reply:
        with _in_common_words():
            (info,) = await self.inspector.queue_infos([queue])
        return _queue_reply(info)

    async def groups(self, queue: str = DEFAULT) -> Any:
        with _in_common_words():
            return [{"group": group.name, "size": group.size} for group in await self.inspector.groups(queue)]

    async def servers(self) -> Any:
        return sorted((_server_reply(info) for info in await self.inspector.servers()), key=lambda server: server["id"])

    async def history(self, days: int, queue: str = DEFAULT) -> Any:
        with _in_common_words():
            found = await self.inspector.history(queue, days)
        return [
            {"queue": day.queue, "date": day.day.isoformat(), "processed": day.processed, "failed": day.failed}
            for day in found
        ]

    async def memory(self, queue: str = DEFAULT) -> int:
        with _in_common_words():
            return await self.inspector.memory(queue)

    async def scheduler_events(self, entry_id: str, *, page: int = 1, size: int = 30) -> Any:
        events = await self.schedules.events(entry_id, page=page - 1, size=size)
        return [{"task_id": event.task_id, "enqueued_at": _unix(event.at)} for event in events]

    async def run(self, task_id: str, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.run(task_id, queue)

    async def archive(self, task_id: str, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.archive(task_id, queue)

    async def delete(self, task_id: str, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.delete(task_id, queue)

    async def update_payload(self, task_id: str, payload: bytes, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.edit(task_id, queue, payload=payload)

    async def run_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        with _in_common_words():
            return await self.inspector.run_all(queue, TaskState(state), group=group or None)

    async def archive_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        with _in_common_words():
            return await self.inspector.archive_all(queue, TaskState(state), group=group or None)

    async def delete_all(self, state: str, queue: str = DEFAULT, *, group: str = "") -> int:
        with _in_common_words():
            return await self.inspector.delete_all(queue, TaskState(state), group=group or None)

    async def cancel(self, task_id: str) -> None:
        with _in_common_words():
            await self.inspector.cancel(task_id)

    async def pause(self, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.pause(queue)

    async def unpause(self, queue: str = DEFAULT) -> None:
        with _in_common_words():
            await self.inspector.resume(queue)

    async def delete_queue(self, queue: str = DEFAULT, *, force: bool = False) -> None:
        with _in_common_words():
            await self.inspector.remove_queue(queue, force=force)


def _seconds(span: timedelta | None) -> int:
    return 0 if span is None else int(span.total_seconds())


def _unix(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())


def _task_reply(info: TaskInfo) -> Reply:
    due = info.next_process_at
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "payload": base64_text(info.payload),
        "headers": dict(info.headers),
        "state": info.state.value,
        "max_retry": info.max_retries,
        "retried": info.retried,
        "last_err": info.last_error or "",
        "last_failed_at": _unix(info.last_failed_at),
        "timeout": _seconds(info.timeout),
        "deadline": _unix(info.deadline),
        "group": info.group or "",
        "next_process_at": 0 if due is None else math.ceil(due.timestamp()),
        "is_orphaned": info.orphaned,
        "retention": _seconds(info.retention),
        "completed_at": _unix(info.completed_at),
        "result": base64_text(info.result or b""),
    }


def _queue_reply(info: QueueInfo) -> Reply:
    return {
        "queue": info.queue,
        **{state.value: getattr(info, state.value) for state in TaskState},
        "size": info.size,
        "groups": info.groups,
        "processed": info.processed,
        "failed": info.failed,
        "processed_total": info.processed_total,
        "failed_total": info.failed_total,
        "paused": info.paused,
        "latency": info.latency.total_seconds(),
    }


def _server_reply(info: ServerInfo) -> Reply:
    running = [
        {
            "task_id": task.id,
            "task_type": task.type,
            "task_payload": base64_text(task.payload),
            "queue": task.queue,
            "started": _unix(task.started_at),
            "deadline": _unix(task.deadline),
        }
        for task in info.running
    ]
    return {
        "id": info.id,
        "host": info.host,
        "pid": info.pid,
        "concurrency": info.concurrency,
        "queues": dict(info.queues),
        "strict_priority": info.strict_priority,
        "started": _unix(info.started_at),
        "status": info.status,
        "active_workers": sorted(running, key=lambda worker: str(worker["task_id"])),
    }
