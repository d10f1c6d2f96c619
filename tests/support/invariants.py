"""What must hold of a queue at rest: each id in exactly one place and that place its state, leases, locks, no strays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import redis

from support.store import Store

LISTS = ("pending", "active")
SETS = ("scheduled", "retry", "archived", "completed")
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
    """Return what is wrong with a queue; nothing may write meanwhile. `fixed_locks` as in `check_invariants`."""
    store = Store(client, queue)
    places = _places(store)
    hashes = _hashes(store)
    return [
        *_one_place_each(places),
        *_state_is_place(places, hashes),
        *_leases(store),
        *_due_times(store),
        *_locks(store, hashes, fixed_locks),
        *_groups(store),
        *_times(hashes),
    ]


def _places(store: Store) -> list[tuple[str, str]]:
    """Every (id, state) that a list or a set stands for."""
    found = [(task_id, name) for name in LISTS for task_id in store.list(name)]
    found += [(task_id, name) for name in SETS for task_id in store.scores(name)]
    for key in store.client.scan_iter(match=_literal(store.key("g:")) + "*", count=1000):
        found += [(member.decode(errors="replace"), "aggregating") for member in store.client.zrange(key, 0, -1)]
    return found


def _literal(prefix: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix)


def _hashes(store: Store) -> dict[str, dict[str, bytes]]:
    prefix = store.key("t:")
    keys = store.client.scan_iter(match=_literal(prefix) + "*", count=1000)
    ids = [key.decode(errors="replace").removeprefix(prefix) for key in keys]
    return {task_id: store.hash(task_id) for task_id in ids}


def _one_place_each(places: list[tuple[str, str]]) -> list[str]:
    counts = Counter(task_id for task_id, _ in places)
    return [
        f"{task_id!r} is in {count} places: {[place for found, place in places if found == task_id]}"
        for task_id, count in counts.items()
        if count > 1
    ]


def _state_is_place(places: list[tuple[str, str]], hashes: dict[str, dict[str, bytes]]) -> list[str]:
    placed = dict(places)
    wrong = [f"{task_id!r} is {place} but has no hash" for task_id, place in placed.items() if task_id not in hashes]
    for task_id, fields in hashes.items():
        state = fields.get("state", b"").decode()
        if placed.get(task_id) != state:
            wrong.append(f"{task_id!r} has state {state!r} but is in {placed.get(task_id)!r}")
        if "msg" not in fields:
            wrong.append(f"{task_id!r} has no message")
    return wrong


def _leases(store: Store) -> list[str]:
    active, leases = set(store.list("active")), set(store.scores("lease"))
    wrong = [f"{task_id!r} is active without a lease" for task_id in active - leases]
    return wrong + [f"{task_id!r} has a lease but is not active" for task_id in leases - active]


def _due_times(store: Store) -> list[str]:
    seconds = {task_id: score for name in _WAITING for task_id, score in store.scores(name).items()}
    return [
        f"{task_id!r} has the exact due time {exact} beside {seconds.get(task_id)}"
        for task_id, exact in store.due().items()
        if seconds.get(task_id) != math.ceil(exact)
    ] + [f"{task_id!r} falls due at {score}, not a whole second" for task_id, score in seconds.items() if score % 1]


def _locks(store: Store, hashes: dict[str, dict[str, bytes]], fixed: Collection[str]) -> list[str]:
    """A lock is held by a live task that knows it. A live task may have outlived its lock, as the user chose its TTL.

    A fixed lock is known to no task of its own; a task with the same lock, not fixed, may hold it nevertheless.
    """
    wrong = []
    for key in store.client.scan_iter(match=_literal(store.key("unique:")) + "*", count=1000):
        holder = hashes.get(store.client.get(key).decode(errors="replace"), {})
        knows = holder.get("unique_key") == key
        ended = holder.get("state", b"").decode() in _ENDED
        if ended if knows else key.decode() not in fixed:
            wrong.append(f"the lock {key!r} is held by {store.client.get(key)!r}, which is no live task that knows it")
        if store.client.ttl(key) < 0:
            wrong.append(f"the lock {key!r} never expires")
    return wrong


def _groups(store: Store) -> list[str]:
    named = {name.decode() for name in store.client.smembers(store.key("groups"))}
    prefix = store.key("g:")
    closed = {key.decode() for key in store.client.zrange(store.key("aggregation_sets"), 0, -1)}
    keys = {key.decode() for key in store.client.scan_iter(match=_literal(prefix) + "*", count=1000)}
    filled = {key.removeprefix(prefix) for key in keys - closed}
    return [f"group {name!r} has members but is not listed, or the reverse" for name in named ^ filled]


def _times(hashes: dict[str, dict[str, bytes]]) -> list[str]:
    return [
        f"{task_id!r} is {fields.get('state', b'').decode()} and pending_since is {fields.get('pending_since')!r}"
        for task_id, fields in hashes.items()
        if ("pending_since" in fields) != (fields.get("state") == b"pending")
    ]
