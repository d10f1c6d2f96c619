"""TaskSteering: what is done to many tasks at once, named by their ids or selected."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.application.commands import Action, SteerSelection, SteerTasks
from taskflow.broker.inspector import Inspector
from taskflow.broker.steering import Progress
from taskflow.errors import TaskFlowError, TaskNotFound
from taskflow.task import TaskState, check_task_id

_BATCH = 500
"""How many selected tasks are handled between two reports of the progress."""


class TaskSteering:
    """Carries out orders on many tasks. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._many = {
            "run": inspector.run_many,
            "archive": inspector.archive_many,
            "delete": inspector.delete_many,
            "cancel": inspector.cancel_many,
        }
        self._all = {
            "run": inspector.run_all,
            "archive": inspector.archive_all,
            "delete": inspector.delete_all,
            "cancel": inspector.cancel_all,
        }

    async def tasks(self, command: SteerTasks) -> list[TaskState | TaskFlowError]:
        """Do something to tasks; return for each, in order, the state it was in or why it was left alone."""
        for task_id in command.task_ids:
            check_task_id(task_id)
        if command.queue is not None:
            return await self._many[command.action](command.task_ids, command.queue)
        answers: list[TaskState | TaskFlowError] = []
        for task_id in command.task_ids:
            try:
                queue = (await self._inspector.task(task_id)).queue
            except TaskNotFound as error:
                answers.append(error)
            else:
                answers += await self._many[command.action]([task_id], queue)
        return answers

    async def many(
        self, action: Action, ids: Sequence[str], queue: str, state: TaskState
    ) -> list[TaskState | TaskFlowError]:
        """Do something to tasks of a queue that are in a state. Raises `InvalidTaskState` if that cannot be done there."""
        return await self._many[action](ids, queue, state=state)

    async def selection(self, command: SteerSelection, progress: Progress | None) -> int:
        """Do something to the tasks that were selected; return to how many."""
        chosen = command.selection
        if chosen.ids is None:
            steer_all = self._all[command.action]
            return await steer_all(chosen.queue, chosen.state, group=chosen.group, progress=progress)
        done = 0
        for first in range(0, len(chosen.ids), _BATCH):
            part = chosen.ids[first : first + _BATCH]
            answers = await self._many[command.action](part, chosen.queue, state=chosen.state)
            done += sum(isinstance(answer, TaskState) for answer in answers)
            if progress is not None:
                progress(done, chosen.count)
        return done
