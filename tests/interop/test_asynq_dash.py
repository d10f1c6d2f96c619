"""`asynq dash`, the tool's page in a terminal, shows a TaskFlow system."""

from __future__ import annotations

import pytest

from interop.asynq_cli import AsynqCli
from interop.scene import GROUP, ODD_GROUP, STATES, Scene
from support.terminal import in_a_terminal
from taskflow import TaskState

pytestmark = pytest.mark.go

RIGHT, ENTER, ESCAPE, CTRL_C = "l", "\r", "\x1b", "\x03"


async def listed(scene: Scene, state: str) -> list[str]:
    """What the page lists of a state: the groups, or the tasks."""
    if state == "aggregating":
        return [GROUP, ODD_GROUP]
    return [task.id for task in await scene.inspector.tasks("default", TaskState(state))]


async def test_dash_shows_our_queues_and_tasks(asynq: AsynqCli, scene: Scene) -> None:
    infos = {info.queue: info for info in await scene.inspector.queue_infos()}
    default = infos["default"]
    async with in_a_terminal(*asynq.command, "dash", environment=asynq.environment) as terminal:
        text = await terminal.shows("Queue ", *infos)
        rows = {cells[0]: cells for cells in (line.split() for line in text.split("\n")) if len(cells) > 7}
        for name, info in infos.items():
            state = "PAUSED" if info.paused else "RUN"
            assert rows[name][:3] == [name, state, str(info.size)]
            assert rows[name][-3:-1] == [str(info.processed), str(info.failed)]

        terminal.type("j" + ENTER)
        counts = [f"{state.title()}:{getattr(default, state)}" for state in STATES]
        await terminal.shows("Name      default", f"Size      {default.size}", *counts)
        for state in STATES:
            await terminal.shows(*await listed(scene, state))
            terminal.type(RIGHT)

        await terminal.shows("runs_1")  # the first state again
        terminal.type("j" + ENTER)
        await terminal.shows("Task Info", "ID: runs_1", "State: active", "Type: stuck")
        terminal.type(ESCAPE)
        terminal.type(CTRL_C)
        assert await terminal.ends() == 0
