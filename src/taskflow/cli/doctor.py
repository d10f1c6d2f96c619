"""`taskflow doctor`: what needs attention, in Redis, queues, workers and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.application.findings import Finding
    from taskflow.application.service import TaskService
    from taskflow.broker.redis_info import RedisInfo, RedisNode


def doctor(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what needs attention, and what to do about it: in Redis, queues, workers and schedules.

    An error means that work stands still or can be lost: a queue with tasks and no worker, periodic tasks and no
    scheduler, a Redis that throws keys away or cannot write. A warning means that it will get so, or that tasks suffer.
    Nothing is changed. Exit code 1 if there is an error, 0 if not, so that a probe or a deployment can ask.

    \b
    Examples:
      taskflow doctor
      taskflow doctor --json | jq -r '.findings[] | select(.severity == "error") | .text'
      taskflow --redis-url rediss://redis.example:6379 doctor && echo all well
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json

    async def look(service: TaskService) -> tuple[RedisInfo, list[Finding]]:
        return await service.redis_info(), await service.findings()

    redis, findings = ask(ctx, look)
    if as_json:
        print_json({"redis": redis, "findings": findings})
    else:
        _print(redis, findings)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _print(redis: RedisInfo, findings: list[Finding]) -> None:
    from taskflow.cli.output import console, print_facts
    from taskflow.wording import plain

    for node in redis.nodes:
        print_facts(_facts(node))
    console().print()
    for finding in findings:
        colour = {"error": "bold red", "warning": "yellow", "info": "cyan"}[finding.severity]
        console().print(f"{finding.severity:8}", style=colour, end="")
        console().print(plain(finding.text), markup=False)
    if not findings:
        console().print("Nothing needs attention.")


def _facts(node: RedisNode) -> dict[str, object]:
    from taskflow.cli.output import span, when
    from taskflow.wording import size

    share = node.memory_share
    limit = "no limit" if share is None else f"{share:.0%} of {size(node.memory_limit or 0)}"
    snapshot = f"last snapshot {when(node.saved_at)}" + ("" if node.save_ok else ", which failed")
    appended = "append-only file" if node.aof else "no append-only file"
    return {
        "redis": f"{node.name} {node.version} at {node.address}, up for {span(node.uptime)}, {node.replicas} replicas",
        "memory": f"{size(node.memory)}, {limit}; when it is full: {node.eviction}",
        "persistence": f"{appended}{'' if node.aof_ok else ', which cannot be written'}; {snapshot}",
        "load": f"{node.commands_per_second:,} commands/s, {node.clients:,} connections, {node.keys:,} keys",
    }
