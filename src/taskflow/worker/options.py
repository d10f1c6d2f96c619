"""WorkerOptions: how a worker works."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct, field

from taskflow.broker.groups import LARGEST_SET, GroupPolicy
from taskflow.broker.progress import STREAM_ENTRIES, STREAM_SECONDS
from taskflow.broker.queue import LEASE_SECONDS
from taskflow.errors import ConfigError
from taskflow.task import DEFAULT_QUEUE
from taskflow.wire.message import whole_seconds
from taskflow.worker.executor import CLEANUP
from taskflow.worker.heartbeater import BEAT
from taskflow.worker.maintenance import GRACE, RECOVER
from taskflow.worker.queue_set import check_queues
from taskflow.worker.webhooks import WebhookOptions

if TYPE_CHECKING:
    from taskflow.config import Settings

MAX_THREADS = 32
"""How many threads run `def` handlers when `threads` is 0 and the concurrency is higher than this."""


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """How a worker works.

    Attributes:
        queues: Weight of each queue: how many free slots it gets beside the others while all are full. A name with a `*` in it
            is a pattern: it means all queues whose names match, as they come and go; `*` stands for any text.
        strict: Take from the heaviest queue first, always.
        concurrency: How many tasks run at once. Default 100.
        threads: How many `def` handlers run at once; 0 (default): as many as `concurrency`, at most 32.
        pool_size: How many processes run `executor="process"` handlers; 0 (default): one for each core, at most
            `concurrency`.
        max_tasks: After how many tasks (up to a tenth fewer, at random) the worker stops as if told to, so that a fresh process
            can take its place; 0 (default): never. Who runs the worker starts that process: `taskflow worker` does. Tasks
            with `executor="process"` do not count; each process of theirs is replaced after as many.
        max_memory: At how many bytes of memory in use it stops in the same way, looked at with each heartbeat; 0 (default): never.
        shutdown_timeout: How long running tasks may go on after the word to stop. Default 8 s.
        cleanup_timeout: How long a handler may go on after it was cancelled; then it is cancelled again and again, and at
            last its task is settled without it. Default 10 s.
        lease: How long the worker may be silent before its tasks count as lost. Default 30 s.
        heartbeat: How often it says that it lives. Default 5 s; at most half of the lease.
        grace: How long a lost task is left alone if it is not known that its server is gone. Default 30 s.
        recover_every: How often lost tasks are looked for. Default 5 s.
        health: Address (host, port) of the health server, None for none.
        log_tasks: Log a line for each attempt. Default true.
        progress_seconds: How long a task's progress is kept after its last entry. Default 1 h.
        progress_entries: About how many entries are kept. Default 1,000.
        allow_eviction: Work also on a server that throws keys away when its memory is full.
        version: What the program calls its version, in the catalog of task types; empty (default): nothing.
        group_grace: A group is aggregated when no task has come into it for this long. Default 60 s.
        group_max_delay: Or when its oldest task has waited this long; 0 (default): never.
        group_max_size: Or when it has this many tasks, at most 5,000; 0 (default): never.
        webhooks: How webhooks are sent; None (default): it sends none.

    Raises:
        ConfigError: The values do not fit together.

    """

    queues: Mapping[str, int] = field(default_factory=lambda: {"default": 1})
    strict: bool = False
    concurrency: int = 100
    threads: int = 0
    pool_size: int = 0
    max_tasks: int = 0
    max_memory: int = 0
    shutdown_timeout: timedelta = timedelta(seconds=8)
    cleanup_timeout: timedelta = timedelta(seconds=CLEANUP)
    lease: timedelta = timedelta(seconds=LEASE_SECONDS)
    heartbeat: timedelta = timedelta(seconds=BEAT)
    grace: timedelta = timedelta(seconds=GRACE)
    recover_every: timedelta = timedelta(seconds=RECOVER)
    health: tuple[str, int] | None = None
    log_tasks: bool = True
    progress_seconds: int = STREAM_SECONDS
    progress_entries: int = STREAM_ENTRIES
    allow_eviction: bool = False
    version: str = ""
    group_grace: timedelta = timedelta(seconds=60)
    group_max_delay: timedelta = timedelta(0)
    group_max_size: int = 0
    webhooks: WebhookOptions | None = None

    def __post_init__(self) -> None:
        check_queues(self.queues)
        if self.concurrency < 1:
            raise ConfigError(f"concurrency: must be at least 1, not {self.concurrency}")
        if self.max_tasks < 0 or self.max_memory < 0:
            raise ConfigError("max_tasks and max_memory must not be negative; 0 means no limit")
        if self.group_grace <= timedelta(0) or self.group_max_delay < timedelta(0):
            raise ConfigError("group_grace must be more than 0, and group_max_delay not less")
        if not 0 <= self.group_max_size <= LARGEST_SET:
            raise ConfigError(f"group_max_size: must be from 0 to {LARGEST_SET}, not {self.group_max_size}")
        if self.heartbeat * 2 > self.lease:
            raise ConfigError("heartbeat: must be at most half of the lease, or tasks would be lost between two beats")

    @classmethod
    def of(cls, settings: Settings, *, named: Iterable[str] = ()) -> WorkerOptions:
        """Return what the settings say of a worker, but for the health server's address.

        Args:
            settings: The settings.
            named: Queues that handlers name. Where the settings leave the queues to us, they are served too, with the weight
                of the `default` queue, and so is the queue of tasks that name none.

        """
        section = settings.server.worker
        queues = dict(section.queues)
        if "queues" not in section.model_fields_set:
            for name in (settings.queues.default, *named):
                queues.setdefault(name, queues[DEFAULT_QUEUE])
        return cls(
            queues=queues,
            strict=section.strict_priority,
            concurrency=section.concurrency,
            threads=section.threads,
            pool_size=section.pool_size,
            max_tasks=section.max_tasks,
            max_memory=int(section.max_memory),
            shutdown_timeout=section.shutdown_timeout,
            cleanup_timeout=section.cleanup_timeout,
            lease=section.lease,
            heartbeat=section.heartbeat,
            grace=section.recover_grace,
            recover_every=section.recover_interval,
            progress_seconds=max(1, whole_seconds(settings.progress.ttl)),
            progress_entries=settings.progress.max_entries,
            allow_eviction=settings.redis.allow_eviction,
            version=settings.app.version,
            group_grace=section.groups.grace_period,
            group_max_delay=section.groups.max_delay,
            group_max_size=section.groups.max_size,
            webhooks=_webhooks(settings) if settings.webhooks.enabled else None,
        )

    @property
    def served(self) -> dict[str, int]:
        """The queues to their weights, with that of webhooks if there are any."""
        queues = dict(self.queues)
        if self.webhooks is not None:
            queues.setdefault(self.webhooks.queue, 1)
        return queues

    @property
    def group_policy(self) -> GroupPolicy:
        """When a group is aggregated."""
        return GroupPolicy(
            grace=self.group_grace.total_seconds(),
            max_delay=self.group_max_delay.total_seconds(),
            max_size=self.group_max_size,
        )

    @property
    def thread_count(self) -> int:
        """How many `def` handlers run at once."""
        return self.threads or min(self.concurrency, MAX_THREADS)

    @property
    def pool_processes(self) -> int:
        """How many processes run `executor="process"` handlers."""
        return self.pool_size or min(self.concurrency, os.cpu_count() or 1)


def _webhooks(settings: Settings) -> WebhookOptions:
    section = settings.webhooks
    return WebhookOptions(
        secrets=section.secrets,
        allow_hosts=section.allow_hosts,
        allow_private=section.allow_private,
        queue=section.queue,
        timeout=section.timeout,
        max_retries=section.max_retries,
        retention=section.retention,
    )
