"""The catalog: versions of types, who serves them, what is accepted, and what is forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from conftest import StartWorker
from support.clock import MovableClock
from taskflow import Broker, Client, InvalidPayload, Registry
from taskflow.application.known_types import KnownTypes
from taskflow.broker.catalog import FORGET_TYPE, FORGET_VERSION, LIVE, MOST_VERSIONS, TaskCatalog, TaskType
from taskflow.wire.keys import TASK_TYPES
from taskflow.worker.handler import Handler

OLD = TaskType(type="mail", schema={"type": "object", "required": ["to"]}, version="1")
NEW = TaskType(type="mail", schema={"type": "object", "required": ["address"]}, version="2")
JUST_AFTER = timedelta(seconds=1)


async def test_what_the_catalog_has_is_not_sent_again(broker: Broker, raw: Any, clock: MovableClock) -> None:
    await TaskCatalog(broker).publish([OLD])
    text = raw.hget(TASK_TYPES, f"@{OLD.id}")
    clock.advance(60)

    await TaskCatalog(broker).publish([OLD])

    (entry,) = await TaskCatalog(broker).entries()
    assert raw.hget(TASK_TYPES, f"@{OLD.id}") == text
    assert entry.first_seen is not None
    assert entry.last_seen is not None
    assert timedelta(seconds=59) < entry.last_seen - entry.first_seen < timedelta(seconds=70)


async def test_two_versions_are_live_side_by_side_until_the_old_one_is_not_seen_any_more(
    broker: Broker, clock: MovableClock
) -> None:
    catalog = TaskCatalog(broker)
    await catalog.publish([OLD])
    clock.advance(10)
    await catalog.publish([NEW])
    known = await KnownTypes(catalog).find("mail")
    assert known is not None
    known.check(b'{"to": "ada"}')
    known.check(b'{"address": "ada"}')
    with pytest.raises(InvalidPayload, match="address"):
        known.check(b"{}")
    assert known.entry.version == "2"

    clock.advance((LIVE + JUST_AFTER).total_seconds())
    await catalog.publish([NEW])

    (entry,) = await catalog.entries()
    assert [(version.entry.version, version.live) for version in entry.versions] == [("2", True), ("1", False)]
    later = await KnownTypes(catalog).find("mail")
    assert later is not None
    with pytest.raises(InvalidPayload, match="address"):
        later.check(b'{"to": "ada"}')


async def test_versions_and_types_that_nobody_serves_age_out(broker: Broker, raw: Any, clock: MovableClock) -> None:
    catalog = TaskCatalog(broker)
    await catalog.publish([OLD, TaskType(type="image:", prefix=True)])
    clock.advance((FORGET_VERSION + JUST_AFTER).total_seconds())
    await catalog.publish([NEW])

    assert [[version.entry.version for version in entry.versions] for entry in await catalog.entries()] == [
        [None],
        ["2"],
    ]
    assert await catalog.forget() == 1
    assert raw.hlen(TASK_TYPES) == 4

    clock.advance((FORGET_TYPE - FORGET_VERSION).total_seconds())
    assert [entry.current.name for entry in await catalog.entries()] == ["mail"]
    clock.advance((FORGET_VERSION + JUST_AFTER).total_seconds())
    assert await catalog.entries() == []
    assert await catalog.forget() == 2
    assert not raw.exists(TASK_TYPES)


async def test_only_so_many_versions_that_are_no_longer_live_are_kept(broker: Broker, clock: MovableClock) -> None:
    catalog = TaskCatalog(broker)
    for number in range(MOST_VERSIONS + 5):
        await catalog.publish([TaskType(type="mail", version=str(number))])
        clock.advance(1)
    clock.advance(LIVE.total_seconds())
    await catalog.publish([NEW])

    (entry,) = await catalog.entries()

    assert len(entry.versions) == MOST_VERSIONS + 1
    assert entry.versions[1].entry.version == str(MOST_VERSIONS + 4)
    assert await catalog.forget() == 5


async def test_what_a_worker_of_the_previous_release_says_counts(broker: Broker, raw: Any, clock: MovableClock) -> None:
    """Its field is the type's name, and the time it was seen stands in its JSON."""
    catalog = TaskCatalog(broker)
    await catalog.publish([NEW])
    (known,) = await catalog.types()
    raw.hset(TASK_TYPES, "mail", msgspec.json.encode({"type": "mail", "doc": "old", "last_seen": known.last_seen}))

    (entry,) = await catalog.entries()
    assert [(version.entry.doc, version.live) for version in entry.versions] == [("", True), ("old", True)]
    clock.advance((FORGET_TYPE + JUST_AFTER).total_seconds())
    assert await catalog.forget() == 2
    assert not raw.exists(TASK_TYPES)


async def test_a_type_that_is_seen_again_meanwhile_is_not_forgotten(broker: Broker, clock: MovableClock) -> None:
    class SeenMeanwhile(TaskCatalog):
        async def _fields(self) -> dict[bytes, bytes]:
            fields = await super()._fields()
            await self.publish([OLD])
            return fields

    await TaskCatalog(broker).publish([OLD])
    clock.advance((FORGET_TYPE + JUST_AFTER).total_seconds())

    assert await SeenMeanwhile(broker).forget() == 0
    assert [entry.type for entry in await TaskCatalog(broker).types()] == ["mail"]


async def test_workers_of_two_versions_are_told_apart(
    client: Client, start_worker: StartWorker, wait_until: Any
) -> None:
    async def by_name(to: str) -> None: ...

    async def by_address(address: str) -> None: ...

    old, new = Registry(), Registry()
    old.add("mail", Handler(by_name))
    new.add("mail", Handler(by_address), version="2.1")
    first = await start_worker(old, version="1.0")
    second = await start_worker(new, version="2.0")
    catalog = TaskCatalog(client.broker)

    async def both() -> bool:
        (entry,) = await catalog.with_servers()
        return len(entry.servers) == 2

    await wait_until(both)
    (entry,) = await catalog.with_servers()
    assert {(version.entry.version, server.id) for version, server in entry.servers} == {
        ("1.0", first.id),
        ("2.1", second.id),
    }

    first.stop()

    async def one() -> bool:
        (entry,) = await catalog.with_servers()
        return [server.id for _, server in entry.servers] == [second.id]

    await wait_until(one)
