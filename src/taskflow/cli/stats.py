"""`taskflow stats`: the whole system in a few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.application.service import TaskService
    from taskflow.task import QueueInfo, ServerInfo


def stats(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the whole system in a few numbers: tasks by state, by queue, what was done today, and who works.

    \b
    Examples:
      taskflow stats
      taskflow stats --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_facts, print_json
    from taskflow.cli.queues import rate

    async def look(service: TaskService) -> tuple[list[QueueInfo], list[ServerInfo]]:
        return await service.queue_stats(), await service.servers()

    infos, servers = ask(ctx, look)
    numbers = _numbers(infos, servers)
    if as_json:
        print_json(numbers)
        return
    failed = rate(numbers["failed"], numbers["processed"])
    facts: dict[str, object] = {
        **numbers["tasks"],
        "done today": numbers["processed"],
        "failed today": numbers["failed"],
    }
    print_facts(
        {
            **facts,
            "failed of all": failed or None,
            "queues": ", ".join(f"{queue} {size:,}" for queue, size in numbers["queues"].items()) or "none yet",
            "servers": f"{numbers['servers']}, with {numbers['slots']} slots",
        }
    )


def _numbers(infos: list[QueueInfo], servers: list[ServerInfo]) -> dict[str, Any]:
    from taskflow.cli.queues import STATES

    return {
        "tasks": {name: sum(getattr(info, name) for info in infos) for name in STATES},
        "processed": sum(info.processed for info in infos),
        "failed": sum(info.failed for info in infos),
        "queues": {info.queue: info.size for info in infos},
        "servers": len(servers),
        "slots": sum(server.concurrency for server in servers),
    }
