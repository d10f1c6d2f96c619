"""What the commands print: tables and progress for people, JSON for programs, one line for an error."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from taskflow.wording import plain

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 500
"""Columns of a line that no terminal folds: what goes into a pipe is not cut."""


@cache
def console() -> Console:
    """The console of standard output."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON; with `indent` 0 on one line."""
    import msgspec

    data = msgspec.json.encode(value)
    sys.stdout.write((msgspec.json.format(data, indent=indent) if indent else data).decode() + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows as a table; `empty` is said where there are none. Names of columns of numbers begin with `#`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.removeprefix("#"), justify="right" if column.startswith("#") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(empty, markup=False)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names with their values, one a line; values of None are left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value is not None:
            grid.add_row(Text(name, style="bold"), Text(plain(value), overflow="fold"))
    console().print(grid)


def readable(data: bytes | None) -> Any:
    """Return what bytes say: JSON decoded, other text as it is, else base64 after `base64:`; None for nothing."""
    import msgspec

    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()


def span(duration: timedelta | None) -> str:
    """A duration, to the second or, below one, to the millisecond; empty for None."""
    from taskflow.durations import format_duration

    if duration is None:
        return ""
    step = timedelta(seconds=1) if duration >= timedelta(seconds=1) else timedelta(milliseconds=1)
    return format_duration(round(duration / step) * step)


def when(moment: datetime | None) -> str:
    """A time as people say it: `12s ago`, `in 3m`, or the date; empty for None."""
    from taskflow.wording import relative

    return "" if moment is None else relative(moment, datetime.now(UTC))


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while something long is done; it is told how much is done, and of how much."""
    if not sys.stdout.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def confirm(what: str, *, yes: bool) -> None:
    """Ask on a terminal whether to go on; the command ends unless the answer is yes. `yes` says that it was given."""
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"error: {what}? There is nobody to ask; say --yes to do it", err=True)
        raise typer.Exit(2)
    if not typer.confirm(f"{what}?"):
        raise typer.Exit(1)


def report(error: Exception) -> int:
    """Print what is wrong, in plain words, on standard error; return the exit code."""
    from taskflow.config import mask_url
    from taskflow.errors import BrokerUnavailable

    text = mask_url(plain(error))
    if isinstance(error, BrokerUnavailable) and "embedded" not in text:
        text += "\n  Is the server running? Name another with --redis-url URL, or start all there is with: taskflow dev"
    typer.echo(f"error: {text}", err=True)
    return 1
