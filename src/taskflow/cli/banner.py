"""The banner of `taskflow dev`: where everything is, and what to try first."""

from __future__ import annotations

from typing import NamedTuple

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from taskflow.cli.output import console, print_json
from taskflow.config import mask_url
from taskflow.wording import plain

_TASKS = "/api/v1/tasks"


class Addresses(NamedTuple):
    """What runs where: URLs; None for what does not run. `target` is the worker's MODULE:APP, `dashboard` whether there are pages.

    `own_store` says that nothing but this banner knows where the store is.
    """

    api: str
    dashboard: bool
    health: str | None
    redis: str
    target: str | None
    own_store: bool


def print_banner(addresses: Addresses, *, as_json: bool) -> None:
    """Say that all is ready."""
    if as_json:
        facts = {"api": addresses.api, "docs": f"{addresses.api}/docs", "redis": mask_url(addresses.redis)}
        if addresses.dashboard:
            facts["dashboard"] = f"{addresses.api}/"
        if addresses.health:
            facts["health"] = f"{addresses.health}/health"
        print_json(facts, indent=0)
        return
    grid = Table.grid(padding=(0, 2))
    for name, text in _lines(addresses):
        grid.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    out = console()
    out.print(Panel(grid, title="TaskFlow is ready", box=box.ROUNDED, expand=False, padding=(0, 2)))
    # Outside of the frame and never folded, so that the lines can be copied.
    for text in _first_steps(addresses):
        out.print(Text(text), soft_wrap=True)
    out.file.flush()


def _lines(addresses: Addresses) -> list[tuple[str, str]]:
    lines = [("Dashboard", f"{addresses.api}/")] if addresses.dashboard else []
    lines += [("API", addresses.api + _TASKS), ("Docs", f"{addresses.api}/docs")]
    if addresses.health:
        lines.append(("Worker", f"{addresses.health}/health"))
    lines.append(("Redis", plain(mask_url(addresses.redis))))
    if addresses.target:
        lines.append(("Tasks of", plain(addresses.target)))
    return lines


def _first_steps(addresses: Addresses) -> list[str]:
    example = '{"type": "demo", "payload": {"message": "hello", "count": 10}}'
    if addresses.target and not addresses.target.startswith("taskflow."):
        example = '{"type": "TYPE", "payload": {}}'
    create = f"curl -s {addresses.api}{_TASKS} -H 'Content-Type: application/json' -d '{example}'"
    watch = f"curl -N '{addresses.api}{_TASKS}/TASK_ID/progress/stream?history=true'"
    steps = ["Create a task:", f"  {create}", "Watch it (its task_id is in the answer):", f"  {watch}"]
    if addresses.own_store:
        steps += [
            "For the command line and Python programs in another terminal:",
            f"  export TASKFLOW_REDIS_URL={addresses.redis}",
        ]
    return [*steps, "Ctrl-C ends it all."]
