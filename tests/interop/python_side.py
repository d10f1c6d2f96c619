"""Python's side: our client and inspector, their answers in asynq's form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from interop.go_peer import Reply, base64_text
from interop.sides import DEFAULT, Refused
from taskflow import Client, Inspector, QueueInfo, ScheduleStore, TaskFlowError, TaskInfo, TaskState, errors
from taskflow.task import ServerInfo

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
