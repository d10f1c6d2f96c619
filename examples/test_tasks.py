"""Tests of the tasks in tasks.py, as an application has them.

    pytest examples/test_tasks.py       or: python examples/test_tasks.py

The coroutine tests need pytest-asyncio with `asyncio_mode = "auto"`. The fixture `taskflow_connect` comes with TaskFlow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
from tasks import Line, app, send_email, total

from taskflow import TaskFlow
from taskflow.testing import Drained, assert_enqueued, assert_not_enqueued, drain, run_task, running_worker, sync


@pytest.fixture(autouse=True)
def private_server(taskflow_connect: Callable[[TaskFlow], TaskFlow]) -> None:
    """Let the app use a private server, empty at the start of each test."""
    taskflow_connect(app)


def test_the_function_alone() -> None:
    assert total([Line("pen", 1.5, 4), Line("book", 12.0)]) == 18.0


async def test_a_mail_is_sent() -> None:
    run = await run_task(app, send_email.task("ada@example.org", subject="Notes"))

    assert run.result() == {"to": "ada@example.org", "subject": "Notes"}
    assert [entry.message for entry in run.progress] == ["to ada@example.org"]


async def test_an_address_that_is_none_is_given_up_at_once() -> None:
    run = await run_task(app, send_email.task("nobody"))

    assert (run.outcome, run.reason) == ("archived", "'nobody' is no address")


def test_a_payload_that_does_not_fit_is_given_up_too() -> None:
    run = sync.run_task(app, "invoice:total", {"lines": [{"article": "pen", "price": "much"}]})

    assert run.outcome == "archived"
    assert "$.lines[0].price" in run.reason


async def test_reminders_are_for_tomorrow() -> None:
    await send_email.with_options(process_in=timedelta(days=1)).enqueue("ada@example.org", subject="Reminder")

    await assert_enqueued(app, "email:send", payload={"subject": "Reminder"}, process_in=timedelta(days=1))
    await assert_not_enqueued(app, "email:send", payload={"to": "grace@example.org"})
    assert await drain(app, with_scheduled=True) == Drained(done=1)


async def test_a_caller_gets_its_result() -> None:
    async with running_worker(app):
        info = await total.with_options(retention=timedelta(minutes=1)).enqueue([Line("pen", 1.5, 4)])

        assert await app.client.result(info, timeout=10) == 6.0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
