"""What needs attention, in plain words: from what is known of a system follows what is found, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from taskflow import QueueInfo, ServerInfo
from taskflow.application.findings import (
    Finding,
    Severity,
    queue_findings,
    redis_findings,
    schedule_findings,
    server_findings,
    sorted_findings,
)
from taskflow.application.overview import Overview, QueueOverview
from taskflow.application.schedules import ScheduleInfo
from taskflow.broker.redis_info import RedisInfo, RedisNode
from taskflow.broker.schedules import Pulse
from taskflow.task import Stall

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HEALTHY = RedisNode(
    address="db:6379",
    name="redis",
    version="7.4.1",
    uptime=timedelta(days=1),
    replicas=1,
    memory=50,
    memory_peak=60,
    memory_limit=100,
    eviction="noeviction",
    evicted=0,
    keys=3,
    expiring=0,
    clients=2,
    commands_per_second=10,
    aof=True,
    aof_ok=True,
    saved_at=NOW,
    save_ok=True,
)


def queue(**facts: Any) -> QueueOverview:
    """A queue with one worker; names of `QueueInfo` and of `QueueOverview` may be mixed."""
    own = {name: facts.pop(name) for name in list(facts) if name in QueueOverview.__struct_fields__}
    return QueueOverview(**{"servers": ("a",), "info": QueueInfo(queue="low", **facts), **own})


def found_in(*queues: QueueOverview) -> list[Finding]:
    return queue_findings(Overview(at=NOW, queues=queues, servers=()))


def schedule(origin: Any = "redis", *, paused: bool = False) -> ScheduleInfo:
    return ScheduleInfo(id="nightly", spec="@daily", type="t", payload=b"", options=(), origin=origin, paused=paused)


# -- queues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "severity", "code", "says"),
    [
        (queue(servers=(), pending=1200), "error", "no_worker", "has no worker, and 1,200 tasks wait in it: start one"),
        (queue(servers=(), pending=1), "error", "no_worker", "1 task waits"),
        (
            queue(servers=(), scheduled=1, retry=2),
            "warning",
            "no_worker",
            "which 3 scheduled, retried or grouped tasks",
        ),
        (queue(servers=(), aggregating=1), "warning", "no_worker", "grouped task will need"),
        (queue(paused=True, pending=2), "warning", "paused", "is paused, and 2 tasks wait in it: resume it"),
        (queue(pending=150, pending_before=50), "warning", "growing_backlog", "150 tasks wait, 50 did ten minutes ago"),
        (queue(pending=9, latency=timedelta(seconds=301.5)), "warning", "slow", "has waited for 5m1s"),
        (queue(processed_lately=20, failed_lately=5), "warning", "failing", "5 of 20 attempts"),
        (queue(processed_lately=2000, failed_lately=1900), "error", "failing", "1,900 of 2,000 attempts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_queues_that_need_attention(seen: QueueOverview, severity: str, code: str, says: str) -> None:
    (finding,) = found_in(seen)

    assert (finding.severity, finding.code, finding.subject, finding.target) == (severity, code, "low", "queue")
    assert finding.text.startswith("The queue 'low' ")
    assert says in finding.text


@pytest.mark.parametrize(
    "seen",
    [
        queue(pending=10_000),
        queue(servers=(), archived=9, completed=9),
        queue(paused=True, scheduled=5),
        queue(servers=(), paused=True),
        queue(pending=1200, pending_before=1000),
        queue(pending=99, pending_before=0),
        queue(pending=9, latency=timedelta(seconds=299)),
        queue(processed_lately=19, failed_lately=19),
        queue(processed_lately=1000, failed_lately=249),
        queue(processed_lately=0, failed_lately=0),
    ],
    ids=repr,
)
def test_queues_that_are_well(seen: QueueOverview) -> None:
    assert found_in(seen) == []


def test_a_queue_may_need_attention_twice() -> None:
    seen = queue(servers=(), pending=1, processed_lately=100, failed_lately=100)

    assert [finding.code for finding in found_in(seen, queue())] == ["no_worker", "failing"]


# -- servers ----------------------------------------------------------------------------------------------------------


def test_a_worker_whose_loop_was_blocked_is_named_with_the_place() -> None:
    server = ServerInfo(
        id="a",
        host="web1",
        pid=42,
        concurrency=1,
        queues={},
        strict_priority=False,
        status="active",
        started_at=NOW,
        active_count=0,
    )
    stall = Stall(at=NOW, seconds=3.21, count=2, where="resize (shop.py, line 7)")

    (finding,) = server_findings([server, structs.replace(server, id="b")], {"a": stall})

    assert (finding.severity, finding.code, finding.subject) == ("warning", "stalled", "web1:42")
    assert (
        "blocked for 3.2 s, until 12:00:00 UTC (2 times since its start), in resize (shop.py, line 7)" in finding.text
    )


# -- schedules --------------------------------------------------------------------------------------------------------


def test_periodic_tasks_without_a_scheduler() -> None:
    schedules = [schedule(), schedule("settings"), schedule("asynq"), schedule(paused=True)]

    (finding,) = schedule_findings(schedules, Pulse(running=False, silent=()))

    assert (finding.severity, finding.code, finding.target) == ("error", "no_scheduler", "schedules")
    assert "nothing fires 2 periodic tasks: start one" in finding.text


def test_a_programs_scheduler_that_has_stopped() -> None:
    (finding,) = schedule_findings([], Pulse(running=False, silent=tuple("abcdef")))

    assert (finding.severity, finding.code) == ("error", "stale_scheduler")
    assert "6 periodic tasks (a, b, c, d, e, …)" in finding.text


@pytest.mark.parametrize(
    ("schedules", "pulse"),
    [
        ([schedule()], Pulse(running=True, silent=("gone",))),
        ([schedule("asynq")], Pulse(running=False, silent=())),
        ([schedule(paused=True)], Pulse(running=False, silent=())),
        ([], Pulse(running=False, silent=())),
    ],
)
def test_periodic_tasks_that_are_well(schedules: list[ScheduleInfo], pulse: Pulse) -> None:
    assert schedule_findings(schedules, pulse) == []


# -- Redis ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "severity", "code", "says"),
    [
        ({"eviction": "allkeys-lru"}, "error", "eviction", "CONFIG SET maxmemory-policy noeviction"),
        ({"evicted": 1234}, "error", "evicted", "thrown away 1,234 keys"),
        ({"memory": 80}, "warning", "memory", "uses 80% of its memory"),
        ({"memory": 95}, "error", "memory", "uses 95% of its memory"),
        ({"aof_ok": False}, "error", "persistence", "could not append to its file"),
        ({"save_ok": False}, "error", "persistence", "could not write its last snapshot"),
        ({"aof": False}, "warning", "no_aof", "CONFIG SET appendonly yes"),
    ],
    ids=str,
)
def test_a_redis_that_needs_attention(facts: dict[str, Any], severity: str, code: str, says: str) -> None:
    nodes = (HEALTHY, structs.replace(HEALTHY, address="db2:6379", **facts))

    (finding,) = redis_findings(RedisInfo(kind="cluster", nodes=nodes))

    assert (finding.severity, finding.code, finding.subject, finding.target) == (severity, code, "db2:6379", "redis")
    assert finding.text.startswith("Redis at db2:6379 ")
    assert says in finding.text


def test_a_redis_without_a_limit_is_well() -> None:
    node = structs.replace(HEALTHY, memory_limit=None)

    assert redis_findings(RedisInfo(kind="single", nodes=(HEALTHY, node))) == []
    assert (HEALTHY.memory_share, node.memory_share) == (0.5, None)


def test_the_worst_stands_first() -> None:
    order: list[tuple[Severity, str]] = [("info", "a"), ("warning", "b"), ("error", "c"), ("warning", "a")]
    found = [
        Finding(severity=severity, code="x", subject=subject, text="", target="queue") for severity, subject in order
    ]

    assert [(finding.severity, finding.subject) for finding in sorted_findings(found)] == [
        ("error", "c"),
        ("warning", "a"),
        ("warning", "b"),
        ("info", "a"),
    ]
