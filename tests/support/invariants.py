"""What must hold of a queue at rest: each id in exactly one place and that place its state, leases, locks, no strays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import redis

from support import image as images
from support.image import Image
from taskflow.wire import asynq_pb2

_WAITING = ("scheduled", "retry")
_ENDED = ("archived", "completed")


def check_invariants(client: redis.Redis, queue: str | None = None, *, fixed_locks: Collection[str] = ()) -> None:
    """Fail, with all that is wrong, if an invariant of a queue (default: of every queue) is broken.

    `fixed_locks` are keys of unique locks that last for their time, by the user's choice: whoever took one may be gone.
    """
    reader: Any = client
    queues = [name.decode() for name in reader.smembers("asynq:queues")] if queue is None else [queue]
    wrong = [f"{name}: {violation}" for name in queues for violation in violations(client, name, fixed_locks)]
    if wrong:
        raise AssertionError("broken invariants:\n  " + "\n  ".join(wrong))


def violations(client: redis.Redis, queue: str, fixed_locks: Collection[str] = ()) -> list[str]:
    """Return what is wrong with a queue. `fixed_locks` as in `check_invariants`."""
    image = images.read(client, queue)
    return [
        *misplaced(image),
        *_due_times(image),
        *[text for key, text in strange_locks(image).items() if not _fixed(image, key, fixed_locks)],
        *_groups(image),
        *_times(image),
        *_outbox(image),
    ]


def misplaced(image: Image) -> list[str]:
    """Return what breaks invariants 2 and 3: each id is in one place, that is its state; leases; no strays."""
    return [*_one_place_each(image.places), *_state_is_place(image), *_leases(image)]


def _one_place_each(places: list[tuple[str, str]]) -> list[str]:
    counts = Counter(task_id for task_id, _ in places)
    return [
        f"{task_id!r} is in {count} places: {[place for found, place in places if found == task_id]}"
        for task_id, count in counts.items()
        if count > 1
    ]


def _state_is_place(image: Image) -> list[str]:
    placed = dict(image.places)
    wrong = [
        f"{task_id!r} is {place} but has no hash" for task_id, place in placed.items() if task_id not in image.hashes
    ]
    for task_id, fields in image.hashes.items():
        state = image.state(task_id)
        if placed.get(task_id) != state:
            wrong.append(f"{task_id!r} has state {state!r} but is in {placed.get(task_id)!r}")
        if "msg" not in fields:
            wrong.append(f"{task_id!r} has no message")
    return wrong


def _leases(image: Image) -> list[str]:
    active, leases = set(image.lists.get("active", [])), set(image.sets.get("lease", {}))
    wrong = [f"{task_id!r} is active without a lease" for task_id in active - leases]
    return wrong + [f"{task_id!r} has a lease but is not active" for task_id in leases - active]


def _due_times(image: Image) -> list[str]:
    seconds = {task_id: score for name in _WAITING for task_id, score in image.sets.get(name, {}).items()}
    return [
        f"{task_id!r} has the exact due time {exact} beside {seconds.get(task_id)}"
        for task_id, exact in image.sets.get("due", {}).items()
        if seconds.get(task_id) != math.ceil(exact)
    ] + [f"{task_id!r} falls due at {score}, not a whole second" for task_id, score in seconds.items() if score % 1]


def strange_locks(image: Image) -> dict[str, str]:
    """Return what breaks invariant 5, by the lock's key: a lock is held by a live task that knows it, and ends some day.

    A live task may have outlived its lock, as the user chose its time.
    """
    wrong = {}
    for key, (holder, ttl) in image.locks.items():
        if not knows(image, holder, key) or image.state(holder) in _ENDED:
            wrong[key] = f"the lock {key!r} is held by {holder!r}, which is no live task that knows it"
        elif ttl < 0:
            wrong[key] = f"the lock {key!r} never expires"
    return wrong


def knows(image: Image, task_id: str, key: str) -> bool:
    """Whether a task knows a lock as its own."""
    return image.hashes.get(task_id, {}).get("unique_key") == key.encode()


def _fixed(image: Image, key: str, fixed: Collection[str]) -> bool:
    """Whether a lock lasts for its time: it is known to no task of its own, though another with the same lock may hold it."""
    holder, ttl = image.locks[key]
    return key in fixed and ttl >= 0 and not knows(image, holder, key)


def _groups(image: Image) -> list[str]:
    unlisted = image.named ^ set(image.groups)
    return [f"group {name!r} has members but is not listed, or the reverse" for name in unlisted]


def _times(image: Image) -> list[str]:
    return [
        f"{task_id!r} is {image.state(task_id)} and pending_since is {fields.get('pending_since')!r}"
        for task_id, fields in image.hashes.items()
        if ("pending_since" in fields) != (image.state(task_id) == "pending")
    ]


def _outbox(image: Image) -> list[str]:
    """Return what is wrong with the notices: each tells of a task of this queue that asked for it."""
    wrong = []
    for notice_id, data in image.outbox.items():
        line, _, rest = data.partition(b"\n")
        ending, _, length, _ = line.split(b" ")
        message = asynq_pb2.TaskMessage.FromString(rest[: int(length)])
        known = ending in {b"completed", b"failed", b"cancelled"} and message.queue == image.queue
        if not known or not message.headers.get("taskflow:callback_url"):
            wrong.append(f"the notice {notice_id!r} tells of nothing that was asked for: {data!r:.200}")
    return wrong
