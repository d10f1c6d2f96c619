"""The signature of a handler is the schema of its payload: values arrive converted, and a wrong one is told exactly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from conftest import StartWorker
from taskflow import Broker, Client, InvalidPayload, TaskFailed, TaskFlow
from taskflow.broker.catalog import TaskCatalog


@dataclass
class Item:
    """Dataclasses, msgspec structs, pydantic models, enums, dates: whatever has a JSON form."""

    name: str
    count: int = 1


async def test_typed_payloads(app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker) -> None:
    @app.task("order:place")
    async def place(items: list[Item], at: datetime) -> str:
        """Place an order."""
        return f"{sum(item.count for item in items)} items in {at:%Y}"

    await start_worker(app)

    # A call through the handler is checked here, before anything is sent.
    with pytest.raises(InvalidPayload, match=r"Expected `array`, got `str` at \$\.items"):
        await place.enqueue("apples", datetime.now(UTC))  # type: ignore[arg-type]  # the mistake

    kept = place.with_options(retention=timedelta(minutes=5))
    info = await kept.enqueue([Item("apple", 2), Item("pear")], datetime(2026, 1, 31, tzinfo=UTC))
    assert await client.result(info, timeout=10) == "3 items in 2026"

    # What others enqueue is checked by the worker; such a task is archived at once, as no retry would help.
    wrong = await client.enqueue("order:place", {"items": [{"name": 7}], "at": "2026-01-31T00:00:00Z"})
    with pytest.raises(TaskFailed, match=r"Expected `str`, got `int` at \$\.items\[0\]\.name"):
        await client.result(wrong, timeout=10)

    # The worker publishes its types, with the schema; the HTTP API checks payloads against it.
    (published,) = await TaskCatalog(broker).types()
    assert published.doc == "Place an order."
    assert published.schema is not None
    assert published.schema["required"] == ["items", "at"]
