"""Watching a task until it ends: a live bar on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from taskflow.cli.output import console, print_json, readable
from taskflow.wording import plain

if TYPE_CHECKING:
    from taskflow.application.service import TaskService
    from taskflow.broker.progress import ProgressEntry
    from taskflow.task import TaskInfo


class _View(AbstractContextManager["_View"], Protocol):
    """Shows entries as they come."""

    def show(self, entry: ProgressEntry) -> None: ...


async def watch_task(service: TaskService, task_id: str, queue: str | None, *, as_json: bool) -> int:
    """Show a task's progress until it ends.

    Returns:
        The exit code: 0 completed; 1 failed, cancelled, or gone.

    Raises:
        TaskNotFound: There is no such task.

    """
    last: ProgressEntry | None = None
    view: _View = _JsonLines() if as_json else _Bar(task_id) if sys.stdout.isatty() else _Lines()
    with view:
        async with aclosing(await service.progress.follow(task_id, queue=queue, history=as_json)) as events:
            async for event in events:
                if event.entry is not None:
                    last = event.entry
                    view.show(last)
    if not as_json:
        _say_end(task_id, last, await _info(service, task_id, queue))
    return 0 if last is not None and last.status == "completed" else 1


async def _info(service: TaskService, task_id: str, queue: str | None) -> TaskInfo | None:
    from taskflow.application.queries import GetTask
    from taskflow.errors import TaskNotFound

    try:
        return await service.get(GetTask(task_id, queue))
    except TaskNotFound:
        return None


def _say_end(task_id: str, last: ProgressEntry | None, info: TaskInfo | None) -> None:
    import msgspec

    out = console()
    if last is None or last.status is None:
        out.print(f"task {plain(task_id)} is gone; nobody knows how it ended", markup=False)
        return
    line = f"task {plain(task_id)} {'was ' if last.status == 'cancelled' else ''}{last.status}"
    if last.status == "failed" and info is not None and info.last_error:
        line += f": {plain(info.last_error)}"
    elif last.status == "completed" and info is not None and info.result:
        result = readable(info.result)
        line += f": {plain(result if isinstance(result, str) else msgspec.json.encode(result).decode())}"
    out.print(line, markup=False, soft_wrap=True)


class _JsonLines:
    """One JSON object a line."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to tidy up."""

    def show(self, entry: ProgressEntry) -> None:
        print_json(entry, indent=0)


class _Lines(_JsonLines):
    """One line of text for each entry."""

    def show(self, entry: ProgressEntry) -> None:
        progress = entry.progress
        text = "  ".join(plain(part) for part in (progress.stage, progress.message) if part)
        console().print(f"{progress.percentage:5.1f}%  {text}", markup=False, soft_wrap=True)


class _Bar:
    """A live progress bar."""

    def __init__(self, task_id: str) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        stage, message = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("stage", "message"))
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        self._progress = Progress(*columns, stage, message, TimeElapsedColumn(), console=console())
        self._task = self._progress.add_task(plain(task_id), total=100, stage="", message="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, entry: ProgressEntry) -> None:
        progress = entry.progress
        stage, message = plain(progress.stage), plain(progress.message)
        self._progress.update(self._task, completed=progress.percentage, stage=stage, message=message)
