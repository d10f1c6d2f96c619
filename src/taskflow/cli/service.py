"""The commands' way to the use cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from taskflow.cli.options import options_of

if TYPE_CHECKING:
    from taskflow.application.service import TaskService

T = TypeVar("T")


def ask(ctx: typer.Context, question: Callable[[TaskService], Awaitable[T]]) -> T:
    """Return what the service answers; it is connected for this one question. Raises `TaskFlowError`."""
    import asyncio

    from taskflow.application.service import TaskService

    settings = options_of(ctx).settings()

    async def answer() -> T:
        async with TaskService.connect(settings) as service:
            return await question(service)

    return asyncio.run(answer())
