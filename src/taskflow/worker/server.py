"""Worker: one process that runs tasks. It starts its parts, waits for the word to stop, and stops them in order."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from taskflow.broker import connection
from taskflow.broker.catalog import REFRESH_SECONDS
from taskflow.broker.delivery import Archive, Delivery, Outcome, Retry
from taskflow.broker.groups import Groups
from taskflow.broker.progress import ProgressStream
from taskflow.broker.queue import Broker
from taskflow.broker.sampler import Sampler
from taskflow.broker.subscriptions import Subscriptions
from taskflow.broker.type_stats import TypeTallies
from taskflow.errors import SkipRetry, TaskFlowError
from taskflow.signals import stop_on_signals
from taskflow.task import ServerInfo
from taskflow.wire.keys import CANCEL_CHANNEL, DUE_CHANNEL, ORDER_CHANNEL, QUEUE_NEWS
from taskflow.worker import loops, resources, webhooks
from taskflow.worker.aggregator import Aggregator
from taskflow.worker.canceller import Canceller
from taskflow.worker.completer import Completer
from taskflow.worker.dead_letters import DeadLetters
from taskflow.worker.discovery import Discovery
from taskflow.worker.drain import Drain
from taskflow.worker.executor import Executor, Run
from taskflow.worker.fetcher import Fetcher
from taskflow.worker.handler import Handler
from taskflow.worker.health import HealthServer
from taskflow.worker.heartbeater import BEAT, Heartbeater
from taskflow.worker.last_words import LastWords
from taskflow.worker.lifetime import Lifetime
from taskflow.worker.maintenance import Maintenance, Sweep
from taskflow.worker.middleware import logging, recovery
from taskflow.worker.options import WorkerOptions
from taskflow.worker.outcome import Stop
from taskflow.worker.processes import ChildPublisher
from taskflow.worker.quarantine import Quarantine
from taskflow.worker.queue_set import QueueSet
from taskflow.worker.registry import Registry
from taskflow.worker.reports import Reports
from taskflow.worker.tallies import FLUSH, Tallies
from taskflow.worker.type_publisher import TypePublisher

_LOG = structlog.get_logger("taskflow.worker")
_FORGET_EVERY = 3600.0
"""How often (s) the catalog is relieved of what nobody has served for long."""
_READY_WITHIN = 3 * BEAT
"""A worker counts as ready while its last heartbeat is no older (s)."""


class Worker:
    """Takes tasks from queues and runs them.

    Args:
        registry: Which handler runs which type.
        redis_url: URL of the Redis server.
        options: How it works.

    """

    def __init__(self, registry: Registry, redis_url: str, options: WorkerOptions | None = None) -> None:
        self.registry = registry
        self.options = options or WorkerOptions()
        self.redis_url = redis_url
        self.id = str(uuid.uuid4())
        self.host = socket.gethostname()
        self.ready = asyncio.Event()
        """Set once it takes tasks."""
        self.left_behind = 0
        """How many handlers were still at work when it had stopped: nothing could stop them but the end of the process."""
        self.on_settled: Callable[[Delivery, Outcome], None] | None = None
        """Called for each task that Redis has taken the outcome of; set it before `run`."""
        self.queues = QueueSet(self.options.served)
        """The queues it serves now, to their weights; `queues.serve(…)` and `queues.leave(…)` change them at any time."""
        self._started_at = datetime.now(UTC)
        self._status = "new"
        self._told_to_stop = False
        self.drained = False
        """Whether it was told to drain from afar: a fresh process may take its place."""
        self._word_to_stop = asyncio.Event()
        """Set by whoever runs it, or when its lifetime is over."""
        self._lifetime = Lifetime(
            self.options.max_tasks, self.options.max_memory, counts=self._counts, over=self._word_to_stop.set
        )
        self._hurry = asyncio.Event()
        self._starting: asyncio.Timeout | None = None

    def stop(self) -> None:
        """Stop: take no more tasks, let running ones end; called again: put them back at once."""
        if self._told_to_stop:
            self._hurry.set()
        self._told_to_stop = True
        self._word_to_stop.set()
        if self._starting is not None:
            self._starting.reschedule(0)  # gives up the start

    def drain(self) -> None:
        """Take no more tasks, let running ones end, and stop; called again it changes nothing."""
        if not self.drained:
            _LOG.info("told to drain", server_id=self.id)
        self.drained = True
        self._word_to_stop.set()

    @property
    def retired(self) -> bool:
        """Whether it stopped because it had reached `max_tasks` or `max_memory`: a fresh process should take its place."""
        return self._lifetime.ended and not self._told_to_stop

    async def run(self) -> None:
        """Work until `stop` is called, or until `max_tasks` or `max_memory` is reached.

        Raises:
            BrokerUnavailable: Redis does not answer at the start; later outages are waited out.
            UnsupportedServer: The server is too old or set up to lose tasks.
            StartFailed: A lifespan, a dependency or a warm-up raised.
            ConfigError: `max_memory` is less than what the process uses before its first task.
            OSError: The health server's port is taken.

        """
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            try:
                if await self._open_resources(stack):
                    await self._work()
            finally:
                self._status = "closed"
                parts = (self._executor, self._aggregator, self._dead_letters)
                self.left_behind = sum(part.left_behind for part in parts)
                self._executor.close()
        _LOG.info("worker stopped", server_id=self.id)

    async def _work(self) -> None:
        self._lifetime.begin()
        background = [asyncio.create_task(part, name=name) for name, part in self._parts()]
        self._fetching = asyncio.create_task(self._fetcher.run(), name="fetcher")
        try:
            self._status = "active"
            self.ready.set()
            _LOG.info(
                "worker started",
                server_id=self.id,
                queues=dict(self.queues),
                concurrency=self.options.concurrency,
            )
            await self._wait_for_word(background)
            self._status = "stopped"
            self._heartbeater.beat_now()
            await self._drain.run(self.options.shutdown_timeout.total_seconds(), self._hurry)
        finally:
            await loops.cancel_all([*background, self._fetching])
            with suppress(TaskFlowError):
                await self._tallies.flush()
            await self._dead_letters.close()

    async def run_with_signals(self) -> None:
        """Work until SIGTERM or SIGINT; a second signal puts running tasks back at once. Raises as `run` does."""
        with stop_on_signals(self.stop):
            await self.run()

    # -- start --------------------------------------------------------------------------------------------------------

    async def _connect(self, stack: AsyncExitStack) -> None:
        options = self.options
        name = f"{self.host}:{os.getpid()}"
        self._leases: set[Delivery] = set()
        self._broker = Broker(self.redis_url, lease_seconds=options.lease.total_seconds())
        stack.push_async_callback(self._broker.close)
        connection.check_safe(await self._broker.open(), allow_eviction=options.allow_eviction)
        self._progress = ProgressStream(
            self._broker, entries=options.progress_entries, seconds=options.progress_seconds
        )
        if options.log_tasks and logging not in self.registry.middleware:
            self.registry.middleware.insert(0, logging)
        if recovery not in self.registry.middleware:
            self.registry.middleware.append(recovery)
        self._last_words = LastWords(self._progress, clock=self._broker.clock)
        self._dead_letters = DeadLetters(self.registry, clock=self._broker.clock)
        settled = self._on_settled if self.on_settled is None else partial(self._report, self.on_settled)
        self._tallies = Tallies(self.registry, TypeTallies(self._broker))
        self._completer = Completer(self._leases, news=lambda: self._fetcher.news(), settled=settled)
        self._executor = Executor(
            self.registry,
            clock=self._broker.clock,
            worker=name,
            concurrency=options.concurrency,
            threads=options.thread_count,
            processes=options.pool_processes,
            max_tasks=options.max_tasks,
            cleanup=options.cleanup_timeout.total_seconds(),
            publish=Reports(self._progress).publish,
            publish_in_child=ChildPublisher(self.redis_url),
            write_result=self._write_result,
            finished=self._on_finished,
            slot_freed=lambda: self._fetcher.news(),
        )
        self._fetcher = Fetcher(
            self._broker,
            self.queues,
            self._executor,
            self._completer,
            self._leases,
            server_id=self.id,
            lifetime=self._lifetime,
            suspect=lambda delivery: self._quarantine.add(delivery),
            strict=options.strict,
        )
        self._quarantine = Quarantine(self._broker, self._fetcher, self._executor, self._completer, self._leases)
        self._discovery = Discovery(self._broker, self.queues, changed=self._fetcher.follow)
        self._maintenance = Maintenance(
            self._broker,
            self.queues,
            worker=name,
            settled=settled,
            server_id=self.id,
            grace=options.grace.total_seconds(),
            recover_every=options.recover_every.total_seconds(),
            trust_after=2 * options.heartbeat.total_seconds(),
        )
        self._aggregator = Aggregator(
            Groups(self._broker),
            self.registry.aggregates,
            self.queues,
            options.group_policy,
            clock=self._broker.clock,
        )
        self._drain = Drain(
            self._fetcher,
            self._executor,
            self._completer,
            self._aggregator,
            self._quarantine,
            tellers=(self._last_words, self._dead_letters),
        )
        self._heartbeater = Heartbeater(
            self.redis_url,
            self._broker.clock,
            describe=self.describe,
            leases=self._leases,
            lost=self._on_lost,
            drain=self.drain,
            lease_seconds=options.lease.total_seconds(),
            beat=options.heartbeat.total_seconds(),
        )
        self._types = TypePublisher(
            self._broker, self.registry, version=options.version or None, describe=self.describe
        )
        await self._listen(stack)
        await self._discovery.look()
        await self._types.publish()
        self._heartbeater.start()
        stack.push_async_callback(asyncio.to_thread, self._heartbeater.stop)
        if options.health is not None:
            health = HealthServer(*options.health, ready=self._why_not_ready, redis=self._why_no_redis)
            stack.callback(health.close)

    async def _open_resources(self, stack: AsyncExitStack) -> bool:
        """Open what the app's tasks need; return False if the word to stop came before all was open."""
        if self._word_to_stop.is_set():
            return False
        try:
            async with asyncio.timeout(None) as start:
                self._starting = start
                try:
                    await stack.enter_async_context(self.registry.lifespans.opened())
                    registry = await stack.enter_async_context(resources.opened(self.registry))
                    self._executor.use(await self._with_webhooks(registry, stack))
                    await self._executor.warm_up()
                finally:
                    self._starting = None
        except TimeoutError:
            if not start.expired():
                raise
            return False
        return True

    async def _with_webhooks(self, registry: Registry, stack: AsyncExitStack) -> Registry:
        """Return the registry with the handler that sends webhooks, if there are to be any."""
        if self.options.webhooks is None:
            return registry
        from taskflow.worker.webhook_delivery import WebhookDelivery  # noqa: PLC0415 - the HTTP client is an extra

        delivery = WebhookDelivery(self.options.webhooks, self._broker.clock)
        stack.push_async_callback(delivery.close)
        return registry.extended(webhooks.TYPE, Handler(delivery.deliver))

    def _sweeps(self) -> list[Sweep]:
        sweeps = list(self._maintenance.sweeps)
        if self.options.webhooks is not None:
            sweep = webhooks.WebhookSweep(self._broker, self.queues, self.options.webhooks)
            sweeps.append(Sweep("webhooks", self.options.webhooks.sweep_every.total_seconds(), sweep.run))
        return sweeps

    async def _listen(self, stack: AsyncExitStack) -> None:
        subscriptions = Subscriptions(self.redis_url)
        stack.push_async_callback(subscriptions.close)
        self._cancellations = await stack.enter_async_context(subscriptions.listen(CANCEL_CHANNEL))
        self._queue_news = await stack.enter_async_context(subscriptions.listen(QUEUE_NEWS))
        self._orders = await stack.enter_async_context(subscriptions.listen(ORDER_CHANNEL))
        self._due_news = await stack.enter_async_context(subscriptions.listen(DUE_CHANNEL))

    def _parts(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        sweeps = [(sweep.name, loops.every(sweep.every, sweep.run, name=sweep.name)) for sweep in self._sweeps()]
        return [
            ("canceller", Canceller(self._broker, self._executor).run(self._cancellations)),
            ("orders", self._heartbeater.keep_listening(self._orders)),
            ("quarantine", self._quarantine.run()),
            ("discovery", self._discovery.keep_looking(self._queue_news)),
            ("forwarder", self._maintenance.keep_forwarding()),
            ("due news", self._maintenance.keep_listening(self._due_news)),
            ("catalog", loops.every(REFRESH_SECONDS, self._types.publish, name="catalog")),
            ("old types", loops.every(_FORGET_EVERY, self._types.forget, name="old types")),
            ("tallies", loops.every(FLUSH, self._tallies.flush, name="tallies")),
            ("sampler", Sampler(self._broker).run()),
            *([("aggregator", self._aggregator.run())] if self.registry.aggregates else []),
            *([("memory", self._watch_memory())] if self._lifetime.watches_memory else []),
            *sweeps,
        ]

    # -- work ---------------------------------------------------------------------------------------------------------

    async def _write_result(self, delivery: Delivery, result: bytes) -> None:
        if not await self._broker.write_result(delivery, result):
            raise SkipRetry("the lease of the task is another worker's by now")

    def _on_finished(self, run: Run, outcome: Outcome | None) -> None:
        delivery = run.delivery
        if outcome is None:
            self._leases.discard(delivery)
            return
        if run.context is not None and run.context.last_progress is not None:
            delivery.last_progress = run.context.last_progress
        tallies = self._tallies
        if skip := tallies.skip:
            tallies.skip = skip - 1
        else:
            tallies.add(delivery, outcome, self._broker.clock.now())
        self._completer.add(delivery, outcome)

    def _on_settled(self, delivery: Delivery, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            self._maintenance.due_at(outcome.at)
        elif isinstance(outcome, Archive):
            self._dead_letters.add(delivery, outcome)
        if delivery.last_progress is not None:
            self._last_words.add(delivery, outcome)

    def _report(self, tell: Callable[[Delivery, Outcome], None], delivery: Delivery, outcome: Outcome) -> None:
        self._on_settled(delivery, outcome)
        tell(delivery, outcome)

    def _on_lost(self, delivery: Delivery) -> None:
        for run in self._executor.running:
            if run.delivery is delivery:
                _LOG.warning(
                    "the lease of a running task is another worker's by now; it is stopped", task_id=delivery.id
                )
                self._executor.stop(run, Stop.LOST)

    def _counts(self, delivery: Delivery) -> bool:
        route = self.registry.find(delivery.message.type) if delivery.message is not None else None
        return route is None or route.handler.executor != "process"

    def _watch_memory(self) -> Coroutine[Any, Any, None]:
        return loops.every(self.options.heartbeat.total_seconds(), self._lifetime.check_memory, name="memory")

    async def _wait_for_word(self, background: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the word to stop; a part that ends before has failed, and its error is raised."""
        word = asyncio.create_task(self._word_to_stop.wait())
        try:
            done, _ = await asyncio.wait([word, self._fetching, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {word}:
                task.result()
        finally:
            word.cancel()

    # -- about itself -------------------------------------------------------------------------------------------------

    def describe(self) -> ServerInfo:
        """Return this server's record."""
        return ServerInfo(
            id=self.id,
            host=self.host,
            pid=os.getpid(),
            concurrency=self.options.concurrency,
            queues=dict(self.queues),
            strict_priority=self.options.strict,
            status=self._status,
            started_at=self._started_at,
            active_count=len(self._executor.running),
        )

    def _why_no_redis(self) -> str | None:
        if time.monotonic() - self._heartbeater.beaten_at > _READY_WITHIN:
            return "Redis has not taken a heartbeat for some time"
        return None

    def _why_not_ready(self) -> str | None:
        if self._status != "active":
            return f"the worker is {self._status}"
        if not self._fetcher.available:
            return "Redis does not answer"
        return self._why_no_redis()
