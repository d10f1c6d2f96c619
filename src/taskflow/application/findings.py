"""Findings: what needs attention in a system, and what to do about it, in plain words. Pure policy: what is known goes in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Literal

from msgspec import Struct

from taskflow.application.overview import Overview, QueueOverview
from taskflow.application.schedules import ScheduleInfo
from taskflow.broker.redis_info import RedisInfo, RedisNode
from taskflow.broker.schedules import Pulse
from taskflow.broker.type_stats import TypeStats
from taskflow.durations import format_duration
from taskflow.task import ServerInfo, Stall
from taskflow.wording import many

Severity = Literal["error", "warning", "info"]
"""`error`: work stands still or can be lost; `warning`: it will get so, or tasks suffer; `info`: worth knowing."""
Target = Literal["queue", "type", "servers", "schedules", "redis"]
"""The page that shows more: of the queue or type named by the subject, or of all of a kind."""

GROWTH = 100
"""By how many tasks at least, and by half, a backlog has grown in ten minutes that is a finding."""
WAITS_LONG = timedelta(minutes=5)
"""For how long the oldest pending task waits in a queue that is too slow."""
FEWEST_ATTEMPTS = 20
"""Of how many attempts in ten minutes a share of failures says something."""
MANY_FAIL, MOST_FAIL = 0.25, 0.9
"""From which share of failures on a queue fails much (a warning), or does nothing else (an error)."""
MEMORY_LOW, MEMORY_FULL = 0.8, 0.95
"""From which share of `maxmemory` on it is a warning, and an error."""
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(Struct, frozen=True, kw_only=True):
    """Something that needs attention.

    Attributes:
        severity: How bad it is.
        code: What it is, for programs: `no_worker`, `growing_backlog`...
        subject: What it is about: the name of a queue, a type or a server, an address of Redis, or '' for all of a kind.
        text: A sentence or two: what is wrong, and what to do.
        target: Which page shows more.

    """

    severity: Severity
    code: str
    subject: str
    text: str
    target: Target


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(findings, key=lambda finding: (_ORDER.index(finding.severity), finding.target, finding.subject))


# -- queues -----------------------------------------------------------------------------------------------------------


def queue_findings(overview: Overview) -> list[Finding]:
    """Return what is wrong with queues."""
    return [finding for queue in overview.queues for finding in _of_queue(queue)]


def _of_queue(queue: QueueOverview) -> Iterator[Finding]:
    info = queue.info
    if info.paused:
        if info.pending:
            yield _queue_finding(queue, "warning", "paused", f"is paused, and {_tasks(info.pending)} in it: resume it")
    elif not queue.servers:
        yield from _without_worker(queue)
    elif _grows(queue):
        yield _queue_finding(
            queue,
            "warning",
            "growing_backlog",
            f"grows: {info.pending:,} tasks wait, {queue.pending_before or 0:,} did ten minutes ago. Add workers, or concurrency",
        )
    elif info.latency >= WAITS_LONG:
        yield _queue_finding(
            queue,
            "warning",
            "slow",
            f"is slow: its oldest task has waited for {_whole_seconds(info.latency)}. Add workers, or give the queue more weight",
        )
    yield from _failing(queue)


def _without_worker(queue: QueueOverview) -> Iterator[Finding]:
    info = queue.info
    start = f"start one: taskflow worker MODULE:APP --queues {info.queue}"
    if info.pending:
        text = f"has no worker, and {_tasks(info.pending)} in it: {start}"
        yield _queue_finding(queue, "error", "no_worker", text)
    elif later := info.scheduled + info.retry + info.aggregating:
        text = f"has no worker, which {many(later, 'scheduled, retried or grouped task')} will need: {start}"
        yield _queue_finding(queue, "warning", "no_worker", text)


def _grows(queue: QueueOverview) -> bool:
    before = queue.pending_before
    return before is not None and queue.info.pending - before >= max(GROWTH, before / 2)


def _failing(queue: QueueOverview) -> Iterator[Finding]:
    rate = queue.failure_rate
    if rate is not None and rate >= MANY_FAIL and (queue.processed_lately or 0) >= FEWEST_ATTEMPTS:
        yield _queue_finding(
            queue,
            "error" if rate >= MOST_FAIL else "warning",
            "failing",
            f"fails much: {queue.failed_lately:,} of {queue.processed_lately:,} attempts in the last ten minutes. "
            "Look at the last errors of its retry and archived tasks",
        )


def _queue_finding(queue: QueueOverview, severity: Severity, code: str, text: str) -> Finding:
    name = queue.info.queue
    return Finding(severity=severity, code=code, subject=name, text=f"The queue {name!r} {text}.", target="queue")


def _tasks(count: int) -> str:
    return f"{many(count, 'task')} {'waits' if count == 1 else 'wait'}"


def _whole_seconds(span: timedelta) -> str:
    return format_duration(timedelta(seconds=int(span.total_seconds())))


# -- types ------------------------------------------------------------------------------------------------------------


def type_findings(stats: Mapping[str, TypeStats]) -> list[Finding]:
    """Return which types fail much, by the figures of the last hour or two."""
    return [finding for one in stats.values() for finding in _failing_type(one)]


def _failing_type(stats: TypeStats) -> Iterator[Finding]:
    attempts = stats.succeeded + stats.failed
    if attempts >= FEWEST_ATTEMPTS and stats.failed >= MANY_FAIL * attempts:
        yield Finding(
            severity="error" if stats.failed >= MOST_FAIL * attempts else "warning",
            code="failing",
            subject=stats.type,
            text=f"Tasks of the type {stats.type!r} fail much: {stats.failed:,} of {attempts:,} attempts in the last hour or two. "
            "Look at the last errors of its tasks.",
            target="type",
        )


# -- servers ----------------------------------------------------------------------------------------------------------


def server_findings(servers: Sequence[ServerInfo], stalls: Mapping[str, Stall]) -> list[Finding]:
    """Return what is wrong with worker servers; `stalls` are those whose event loop was blocked, by their ids."""
    return [_stalled(server, stalls[server.id]) for server in servers if server.id in stalls]


def _stalled(server: ServerInfo, stall: Stall) -> Finding:
    name = f"{server.host}:{server.pid}"
    times = "once" if stall.count == 1 else f"{stall.count:,} times"
    text = (
        f"The event loop of the worker {name} was blocked for {stall.seconds:,.1f} s, until {stall.at:%H:%M:%S} UTC ({times} since "
        f"its start), in {stall.where}: no other task of it went on meanwhile. Make such a handler `def` instead of `async def`, "
        'or executor="process".'
    )
    return Finding(severity="warning", code="stalled", subject=name, text=text, target="servers")


# -- schedules --------------------------------------------------------------------------------------------------------


def schedule_findings(schedules: Sequence[ScheduleInfo], pulse: Pulse) -> list[Finding]:
    """Return what is wrong with periodic tasks: that nobody fires them."""
    if pulse.running:
        return []
    kept = [info for info in schedules if info.origin in {"redis", "settings"} and not info.paused]
    found = []
    if kept:
        text = (
            f"No scheduler runs, so nothing fires {many(len(kept), 'periodic task')}: start one (taskflow scheduler)."
        )
        found.append(Finding(severity="error", code="no_scheduler", subject="", text=text, target="schedules"))
    if pulse.silent:
        names = ", ".join(pulse.silent[:5]) + (", …" if len(pulse.silent) > 5 else "")  # noqa: PLR2004 - enough to recognise them
        text = (
            f"The scheduler of a program with {many(len(pulse.silent), 'periodic task')} ({names}) has stopped within the last day: "
            "start it again (taskflow scheduler MODULE:APP)."
        )
        found.append(Finding(severity="error", code="stale_scheduler", subject="", text=text, target="schedules"))
    return found


# -- Redis ------------------------------------------------------------------------------------------------------------


def redis_findings(redis: RedisInfo) -> list[Finding]:
    """Return what is wrong with Redis: that it may lose tasks, or take no more."""
    return [finding for node in redis.nodes for finding in _of_node(node)]


def _of_node(node: RedisNode) -> Iterator[Finding]:
    if node.eviction != "noeviction":
        yield _node_finding(
            node,
            "error",
            "eviction",
            f"throws tasks away when its memory is full (maxmemory-policy {node.eviction}): CONFIG SET maxmemory-policy noeviction",
        )
    if node.evicted:
        text = f"has thrown away {node.evicted:,} keys since its start, and perhaps tasks: give it more memory, and the policy noeviction"
        yield _node_finding(node, "error", "evicted", text)
    share = node.memory_share
    if share is not None and share >= MEMORY_LOW:
        text = (
            f"uses {share:.0%} of its memory (maxmemory); when that is full, new tasks are refused: raise maxmemory, let workers "
            "catch up, or delete tasks that are kept"
        )
        yield _node_finding(node, "error" if share >= MEMORY_FULL else "warning", "memory", text)
    if not (node.aof_ok and node.save_ok):
        what = "append to its file" if not node.aof_ok else "write its last snapshot"
        yield _node_finding(
            node, "error", "persistence", f"could not {what}, and may refuse writes: look at its disk and log"
        )
    if not node.aof:
        text = (
            "keeps no append-only file, so a crash loses what came after the last snapshot: CONFIG SET appendonly yes"
        )
        yield _node_finding(node, "warning", "no_aof", text)


def _node_finding(node: RedisNode, severity: Severity, code: str, text: str) -> Finding:
    return Finding(
        severity=severity, code=code, subject=node.address, text=f"Redis at {node.address} {text}.", target="redis"
    )
