"""Webhooks on the worker's side: how they are sent, and the sweep that makes tasks of the notices in the outboxes.

A notice is written by the script that ends its task. The sweep enqueues a task for it, with the notice's id and once within a
day, and then takes it away: whatever dies between, the next sweep, anybody's, goes on, and nothing is sent for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from msgspec import UNSET, Raw, Struct, UnsetType

from taskflow.broker.outbox import Entry, Outbox
from taskflow.broker.placing import place
from taskflow.broker.queue import Broker
from taskflow.errors import ConfigError, InvalidOption, MessageInvalid
from taskflow.task import Task, TaskOptions, check_queue
from taskflow.wire import notice as notices
from taskflow.wire.callback import callback_url, own_headers
from taskflow.wire.notice import Notice
from taskflow.wire.payload import json_or_base64

TYPE = "taskflow:webhook"
"""The type of a task that sends a webhook."""
SWEEP_EVERY = 2.0
"""How often (s) to look for notices."""
QUEUES_AT_ONCE = 200
NOTICES_AT_ONCE = 1_000
"""Of how many queues notices are read in one round trip, and about how many notices in all."""
_SPARE = timedelta(seconds=5)
"""An attempt may take so much longer than the request itself."""
_STATES = {"completed": "completed", "failed": "archived", "cancelled": "archived"}
_LOG = structlog.get_logger("taskflow.worker")


class WebhookOptions(Struct, frozen=True, kw_only=True):
    """How webhooks are sent.

    Attributes:
        secrets: What they are signed with; each signs, so that receivers can go over to a new one.
        allow_hosts: Globs of the hosts that they may be sent to.
        allow_private: Send also to this machine and the networks it is in.
        queue: The queue of the tasks that send them; the worker serves it beside its own. Default `webhooks`.
        timeout: How long a request may take. Default 10 s.
        max_retries: How often one that failed is sent again. Default 15: about a day and a half, by the usual backoff.
        retention: How long the task of one that was sent is kept. Default 1 h.
        sweep_every: How often notices are looked for. Default 2 s.

    Raises:
        ConfigError: There is no secret, or no host is allowed.

    """

    secrets: tuple[str, ...]
    allow_hosts: tuple[str, ...]
    allow_private: bool = False
    queue: str = "webhooks"
    timeout: timedelta = timedelta(seconds=10)
    max_retries: int = 15
    retention: timedelta = timedelta(hours=1)
    sweep_every: timedelta = timedelta(seconds=SWEEP_EVERY)

    def __post_init__(self) -> None:
        check_queue(self.queue)
        if not self.secrets or not self.allow_hosts:
            raise ConfigError("webhooks: name a secret to sign with, and the hosts that they may be sent to")

    def __repr__(self) -> str:
        """Keep the secrets out of logs."""
        return f"WebhookOptions(queue={self.queue!r}, allow_hosts={self.allow_hosts!r})"


class Webhook(Struct, frozen=True):
    """The payload of a task that sends a webhook: where to, and the body, as it will be sent."""

    url: str
    event: Raw


class _EndedTask(Struct, frozen=True, kw_only=True):
    task_id: str
    queue: str
    type: str
    state: str
    max_retry: int
    retried: int
    metadata: Mapping[str, str]
    result: Any = UNSET
    result_encoding: str | UnsetType = UNSET
    result_size: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


class _Event(Struct, frozen=True):
    id: str
    type: str
    timestamp: datetime
    task: _EndedTask


class WebhookSweep:
    """Makes tasks of notices.

    Args:
        broker: Where the queues are.
        queues: Queues that may not have come to be named yet; all that are named are swept.
        options: How webhooks are sent.

    """

    def __init__(self, broker: Broker, queues: Collection[str], options: WebhookOptions) -> None:
        self._broker = broker
        self._outbox = Outbox(broker)
        self._queues = queues
        self._options = options

    async def run(self) -> int:
        """Enqueue a task for each notice that there is, and take the notice away; return how many."""
        names = {*self._queues, *filter(None, map(_usable, await self._broker.queue_names()))}
        queues, count = sorted(names), 0
        for first in range(0, len(queues), QUEUES_AT_ONCE):
            part = queues[first : first + QUEUES_AT_ONCE]
            while part:
                entries = await self._outbox.read(part, most=NOTICES_AT_ONCE // len(part))
                await self._hand_over(entries)
                count += len(entries)
                part = sorted({entry.queue for entry in entries})
        return count

    async def _hand_over(self, entries: Sequence[Entry]) -> None:
        tasks = [(task, task_id) for task, task_id in map(self._task, entries) if task is not None]
        now = self._broker.clock.now()
        if tasks:
            await self._broker.enqueue([place(task, now=now, once=task_id)[0] for task, task_id in tasks])
        await self._outbox.drop(entries)

    def _task(self, entry: Entry) -> tuple[Task | None, str]:
        """Return the task that sends the webhook of a notice, and its id; None for what asks for no webhook."""
        task_id = entry.id.decode(errors="replace")
        try:
            notice = notices.decode(entry.data)
            url = callback_url(notice.message)
            if url is None:
                return None, task_id  # its payload named the header, no more
            options = TaskOptions(
                queue=self._options.queue,
                task_id=task_id,
                max_retries=self._options.max_retries,
                timeout=self._options.timeout + _SPARE,
                retention=self._options.retention,
            )
        except (MessageInvalid, InvalidOption) as error:
            _LOG.warning("a notice in an outbox cannot be used; it is dropped", queue=entry.queue, error=str(error))
            return None, task_id
        return Task(TYPE, Webhook(url, event_of(task_id, entry.queue, notice)), options), task_id


def event_of(delivery_id: str, queue: str, notice: Notice) -> Raw:
    """Return the body of the webhook that tells of a task's end."""
    message = notice.message
    task = _EndedTask(
        task_id=message.id,
        queue=queue,
        type=message.type,
        state=_STATES[notice.ending],
        max_retry=message.retry,
        retried=message.retried,
        metadata=own_headers(message),
        **(_result(notice) if notice.ending == "completed" else {"error": _error(notice)}),
    )
    ended_at = datetime.fromtimestamp(notice.at_ns / 1e9, UTC)
    return Raw(msgspec.json.encode(_Event(delivery_id, f"task.{notice.ending}", ended_at, task)))


def _result(notice: Notice) -> dict[str, Any]:
    if notice.result_size and notice.result is None:
        return {"result_size": notice.result_size}
    result, encoding = json_or_base64(notice.result)
    return {"result": result, "result_encoding": encoding}


def _error(notice: Notice) -> str:
    if notice.message.error_msg and notice.ending == "failed":
        return str(notice.message.error_msg)
    return notice.message.error_msg or f"task {notice.ending}"


def _usable(name: bytes) -> str | None:
    try:
        queue = name.decode()
        check_queue(queue)
    except (UnicodeDecodeError, InvalidOption):
        return None
    return queue
