"""`taskflow tasks`: look at tasks, watch and edit them. What is done to many of them is in `steering`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskflow.cli.service import ask
from taskflow.cli.task_options import Payload, PayloadFile, Raw, read_moment, read_payload, read_span
from taskflow.task import TaskState

if TYPE_CHECKING:
    from taskflow.task import TaskInfo

commands = typer.Typer(
    help="Look at tasks; watch, edit, run, archive, cancel and delete them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Queue = Annotated[
    str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue. Default: all are searched.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.command("list", hidden=True)
@commands.command("ls")
def show_page(
    ctx: typer.Context,
    *,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue. Default: queues.default.")
    ] = None,
    state: Annotated[TaskState, typer.Option("--state", "-s", help="In which state.")] = TaskState.ACTIVE,
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only of this type.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only with this text in the id, the last error or the payload.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", "-g", metavar="NAME", help="The group, for aggregating tasks.")
    ] = None,
    page: Annotated[int, typer.Option(metavar="N", help="Which page; the first is 0.", min=0)] = 0,
    size: Annotated[int, typer.Option(metavar="N", help="Tasks on a page.", min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a page of a queue's tasks in a state.

    \b
    Examples:
      taskflow tasks ls                                   what runs now in the default queue
      taskflow tasks ls --state pending --queue critical
      taskflow tasks ls --state archived --text "connection refused" --size 100 --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.application.queries import ListTasks
    from taskflow.cli.output import console, print_json, print_table

    query = ListTasks(queue=queue, state=state, page=page, size=size, type=task_type, text=text, group=group)
    found = ask(ctx, lambda service: service.list(query))
    if as_json:
        print_json({"total": found.total, "tasks": [_as_json(task) for task in found.tasks]})
        return
    rows = [
        (task.id, task.type, f"{task.retried}/{task.max_retries}", _times(task), _remark(task)) for task in found.tasks
    ]
    print_table(["id", "type", "#retried", "when", "remark"], rows, empty=f"no {state} tasks on this page")
    if found.total > len(found.tasks):
        console().print(f"{len(found.tasks)} of {found.total} tasks, page {page} (--page, --size)", markup=False)


@commands.command("inspect", hidden=True)
@commands.command()
def show(
    ctx: typer.Context,
    task_id: TaskId,
    queue: Queue = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a task: payload, options, times, result, failed attempts, traceback of the last one.

    \b
    Examples:
      taskflow tasks show 0b5c7a4e-2f6f-4c0e-9a52-6f1a1f0f3c11
      taskflow tasks show nightly-report --queue reports --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.application.queries import GetTask
    from taskflow.cli.output import print_facts, print_json

    info = ask(ctx, lambda service: service.get(GetTask(task_id, queue)))
    if as_json:
        print_json(_as_json(info))
    else:
        print_facts(
            {name.replace("_", " "): _as_text(value) for name, value in _as_json(info).items() if name != "attempts"}
        )
        _print_attempts(info)


@commands.command()
def edit(
    ctx: typer.Context,
    task_id: TaskId,
    payload: Payload = None,
    *,
    payload_file: PayloadFile = None,
    raw: Raw = False,
    process_at: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="WHEN", help="Run it then: 2030-01-31T09:00:00Z.")
    ] = None,
    process_in: Annotated[
        timedelta | None, typer.Option(parser=read_span, metavar="TIME", help="Run it so long from now: 10m.")
    ] = None,
    queue: Queue = None,
) -> None:
    """Change the payload or the due time of a scheduled or retry task. What is not named stays.

    \b
    Examples:
      taskflow tasks edit nightly-report '{"days": 2}'
      taskflow tasks edit nightly-report --process-in 2h
      taskflow tasks edit nightly-report --payload-file report.json --process-at 2030-01-31T09:00:00Z
    """  # noqa: D301 - \b marks lines that help must not fold
    from msgspec import UNSET

    from taskflow.application.commands import EditTask
    from taskflow.cli.output import when
    from taskflow.wording import plain

    if process_at is not None and process_in is not None:
        raise typer.BadParameter("give either --process-at or --process-in, not both")
    given = read_payload(payload, payload_file, raw=raw)
    due = process_at if process_in is None else datetime.now(UTC) + process_in
    command = EditTask(task_id, queue, payload=UNSET if given is None else given, process_at=due)
    info = ask(ctx, lambda service: service.edit(command))
    typer.echo(f"task {plain(info.id)} is changed; it falls due {when(info.next_process_at)}")


@commands.command()
def watch(
    ctx: typer.Context,
    task_id: TaskId,
    queue: Queue = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each entry as a line of JSON.")] = False,
) -> None:
    """Watch a task until it ends: a live bar on a terminal, lines elsewhere.

    Exit code: 0 completed, 1 failed or cancelled. Ctrl-C ends the watching, not the task.

    \b
    Examples:
      taskflow tasks watch 0b5c7a4e-2f6f-4c0e-9a52-6f1a1f0f3c11
      taskflow tasks watch nightly-report --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.watch import watch_task

    code = ask(ctx, lambda service: watch_task(service, task_id, queue, as_json=as_json))
    if code:
        raise typer.Exit(code)


# -- a task as people and programs read it ------------------------------------------------------------------------------


def _times(task: TaskInfo) -> str:
    from taskflow.cli.output import when

    if task.next_process_at is not None:
        return f"due {when(task.next_process_at)}"
    known = (
        ("ended", task.completed_at if task.state.finished else None),
        ("started", task.started_at if task.state is TaskState.ACTIVE else None),
        ("archived", task.archived_at),
        ("failed", task.last_failed_at),
        ("waiting", task.pending_since),
    )
    return next((f"{what} {when(moment)}" for what, moment in known if moment is not None), "")


def _remark(task: TaskInfo) -> str:
    if task.orphaned:
        return "its worker is gone; it will be recovered"
    return "cancelled" if task.cancelled else (task.last_error or "").partition("\n")[0]


def _as_json(task: TaskInfo) -> dict[str, Any]:
    """The fields of a task, named as the HTTP API names them."""
    from taskflow.cli.output import readable
    from taskflow.durations import format_duration

    return {
        "id": task.id,
        "queue": task.queue,
        "type": task.type,
        "state": task.state,
        "payload": readable(task.payload),
        "result": readable(task.result),
        "max_retry": task.max_retries,
        "retried": task.retried,
        "last_err": task.last_error,
        "next_process_at": task.next_process_at,
        "timeout": None if task.timeout is None else format_duration(task.timeout),
        "deadline": task.deadline,
        "retention": format_duration(task.retention),
        "group": task.group,
        "metadata": task.headers,
        "callback_url": task.callback_url,
        "pending_since": task.pending_since,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "archived_at": task.archived_at,
        "last_failed_at": task.last_failed_at,
        "cancelled": task.cancelled,
        "orphaned": task.orphaned,
        "worker": task.worker,
        "attempts": task.attempts,
    }


def _as_text(value: Any) -> str | None:
    """A field as people read it; None for what there is nothing to say of."""
    import msgspec

    if value is None or value is False or value == {}:
        return None
    if isinstance(value, str):
        return str(value)
    return msgspec.json.encode(value).decode().strip('"')


def _print_attempts(task: TaskInfo) -> None:
    """Print the failed attempts, and where the last one failed; --json has the tracebacks of all."""
    from taskflow.cli.output import print_table
    from taskflow.wording import plain

    if not task.attempts:
        return
    rows = [(attempt.at.isoformat(timespec="seconds"), attempt.worker, attempt.error) for attempt in task.attempts]
    print_table(["failed attempt", "worker", "error"], rows, empty="")
    traceback = task.attempts[-1].traceback
    if traceback:
        typer.echo(plain(traceback.rstrip("\n")))
