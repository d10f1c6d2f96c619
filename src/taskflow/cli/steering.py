"""`taskflow tasks run|archive|delete|cancel`: some tasks by their ids, or all of a state that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from taskflow.cli.service import ask
from taskflow.task import TaskState

if TYPE_CHECKING:
    from taskflow.application.commands import Action
    from taskflow.application.queries import Selection
    from taskflow.application.service import TaskService

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The tasks' ids.")]
Everything = Annotated[bool, typer.Option("--all", help="Instead of ids: all tasks of a state that fit what follows.")]
State = Annotated[TaskState | None, typer.Option("--state", "-s", help="With --all: in which state.")]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue", "-q", metavar="NAME", help="The queue. Default: ids are searched in all; --all: the default."
    ),
]
Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="With --all: only of this type.")]
Text = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="With --all: only with this text in the id, the last error or the payload."),
]
Group = Annotated[
    str | None, typer.Option("--group", "-g", metavar="NAME", help="With --all: only this group of aggregating tasks.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many tasks it would be, and which.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask first.")]

_HELP: dict[Action, str] = {
    "run": """Run tasks now: scheduled, retry, archived, completed and aggregating ones become pending.

    \b
    Examples:
      taskflow tasks run nightly-report
      taskflow tasks run --all --state archived --queue low --dry-run
      taskflow tasks run --all --state archived --type email:send --text "connection refused"
    """,
    "archive": """Give up tasks that are not running: they are archived as they are.

    \b
    Examples:
      taskflow tasks archive first second third --queue low
      taskflow tasks archive --all --state retry --type email:send
      taskflow tasks archive --all --state aggregating --group user:42
    """,
    "delete": """Delete tasks that are not running; nothing is left of them.

    \b
    Examples:
      taskflow tasks delete 0b5c7a4e-2f6f-4c0e-9a52-6f1a1f0f3c11
      taskflow tasks delete --all --state completed --queue low --yes
    """,
    "cancel": """Stop tasks for good, in whatever state they are: a waiting one is archived, a running one is stopped and archived.

    \b
    Examples:
      taskflow tasks cancel 0b5c7a4e-2f6f-4c0e-9a52-6f1a1f0f3c11
      taskflow tasks cancel first second third --queue low
      taskflow tasks cancel --all --state active --type report:build
    """,
}
_DONE: dict[Action, str] = {"run": "pending now", "archive": "archived", "delete": "deleted", "cancel": "cancelled"}


class _Choice(NamedTuple):
    """What the options say of the tasks that are meant."""

    state: TaskState | None = None
    queue: str | None = None
    type: str | None = None
    text: str | None = None
    group: str | None = None


def add_commands(commands: typer.Typer) -> None:
    """Add the commands to those of tasks; asynq's own verbs are there too, though help does not show them."""
    for action, text in _HELP.items():
        commands.command(action, help=text)(_command(action))
        if action != "cancel":
            commands.command(f"{action}all", help=text, hidden=True)(_all_command(action))


def _command(action: Action) -> Callable[..., None]:
    def command(
        ctx: typer.Context,
        ids: Ids = None,
        *,
        everything: Everything = False,
        state: State = None,
        queue: Queue = None,
        task_type: Type = None,
        text: Text = None,
        group: Group = None,
        dry_run: DryRun = False,
        yes: Yes = False,
    ) -> None:
        choice = _Choice(state, queue, task_type, text, group)
        if everything == bool(ids):
            raise typer.BadParameter("name tasks by their ids, or choose them by --all --state STATE")
        if everything:
            _steer_all(ctx, action, choice, dry_run=dry_run, yes=yes)
        elif choice != _Choice(queue=queue):
            raise typer.BadParameter("--state, --type, --text and --group go with --all, not with ids")
        else:
            _steer_some(ctx, action, ids or [], queue, dry_run=dry_run)

    return command


def _all_command(action: Action) -> Callable[..., None]:
    def command(
        ctx: typer.Context,
        *,
        state: State = None,
        queue: Queue = None,
        group: Group = None,
        yes: Yes = False,
    ) -> None:
        _steer_all(ctx, action, _Choice(state, queue, group=group), dry_run=False, yes=yes)

    return command


# -- by ids -------------------------------------------------------------------------------------------------------------


def _steer_some(ctx: typer.Context, action: Action, ids: Sequence[str], queue: str | None, *, dry_run: bool) -> None:
    """Do something to each task, and say what came of it; the exit code is 1 if any of it failed."""
    from taskflow.application.commands import SteerTasks
    from taskflow.cli.output import report
    from taskflow.errors import TaskFlowError
    from taskflow.wording import plain

    if dry_run:
        _show_some(ctx, ids, queue)
        return
    answers = ask(ctx, lambda service: service.steer(SteerTasks(action, tuple(ids), queue)))
    code = 0
    for task_id, answer in zip(ids, answers, strict=True):
        if isinstance(answer, TaskFlowError):
            code = report(answer)
        else:
            typer.echo(f"task {plain(task_id)} {'is being stopped' if _runs_on(action, answer) else _DONE[action]}")
    if code:
        raise typer.Exit(code)


def _show_some(ctx: typer.Context, ids: Sequence[str], queue: str | None) -> None:
    from taskflow.application.queries import GetTask
    from taskflow.cli.output import report
    from taskflow.errors import TaskNotFound
    from taskflow.wording import plain

    async def look(service: TaskService) -> int:
        code = 0
        for task_id in ids:
            try:
                info = await service.get(GetTask(task_id, queue))
                typer.echo(
                    f"task {plain(task_id)} of type {plain(info.type)} is {info.state} in queue {plain(info.queue)}"
                )
            except TaskNotFound as error:
                code = report(error)
        return code

    code = ask(ctx, look)
    if code:
        raise typer.Exit(code)


# -- all of a state -----------------------------------------------------------------------------------------------------


def _steer_all(ctx: typer.Context, action: Action, choice: _Choice, *, dry_run: bool, yes: bool) -> None:
    """Do something to all tasks of a state that fit, once somebody has said yes to their number."""
    from taskflow.application.commands import SteerSelection
    from taskflow.application.queries import SelectTasks
    from taskflow.cli.output import bar, confirm

    if choice.state is None:
        raise typer.BadParameter("say in which state: --state archived", param_hint="--state")
    query = SelectTasks(state=choice.state, queue=choice.queue, type=choice.type, text=choice.text, group=choice.group)

    async def work(service: TaskService) -> None:
        with bar("looking") as progress:
            selection = await service.select(query, progress)
        if dry_run or not selection.count:
            _show_selection(selection)
            return
        confirm(f"{action} {_described(selection)}", yes=yes)
        with bar(action) as progress:
            done = await service.steer_selection(SteerSelection(action, selection), progress)
        outcome = "told to stop" if _runs_on(action, selection.state) else _DONE[action]
        typer.echo(f"{done:,} task{'' if done == 1 else 's'} {outcome}")

    ask(ctx, work)


def _runs_on(action: Action, state: TaskState) -> bool:
    """Whether a task is there as before until its worker has heard of it."""
    return action == "cancel" and state is TaskState.ACTIVE


def _described(selection: Selection) -> str:
    from taskflow.wording import plain

    group = "" if selection.group is None else f" in group {plain(selection.group)}"
    tasks = f"{selection.count:,} {selection.state} task{'' if selection.count == 1 else 's'}"
    return f"{tasks} of queue {plain(selection.queue)}{group}"


def _show_selection(selection: Selection) -> None:
    from taskflow.cli.output import print_table

    typer.echo(_described(selection))
    if selection.sample:
        rows = [(task.id, task.type, (task.last_error or "").partition("\n")[0]) for task in selection.sample]
        more = selection.count - len(rows)
        print_table(["id", "type", "last error"], rows, empty="")
        if more > 0:
            typer.echo(f"and {more:,} more")
