"""The command line: `python -m bench [NAME ...]`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import (
    backlog,
    dashboard,
    drain,
    enqueue,
    http_api,
    idle,
    imports,
    latency,
    limit,
    machine,
    memory,
    page,
    processes,
    scheduled,
    viewers,
)
from bench.course import Course
from bench.figures import Circumstances, Report
from taskflow.errors import TaskFlowError

BENCHMARKS: dict[str, Callable[[Course], Report]] = {
    "drain": drain.measure,
    "limit": limit.measure,
    "enqueue": enqueue.measure,
    "latency": latency.measure,
    "scheduled": scheduled.measure,
    "http": http_api.measure,
    "viewers": viewers.measure,
    "dashboard": dashboard.measure,
    "backlog": backlog.measure,
    "memory": memory.measure,
    "imports": imports.measure,
    "idle": idle.measure,
}
_QUICK_SCALE = 0.1


def main() -> int:
    """Run the benchmarks that the command line names; return 1 if one of them failed."""
    parser = _parser()
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="taskflow-bench-") as folder:
        reports, failures = _run_all(options, console, Path(folder))
    if options.json is not None:
        page.write_json(options.json, reports)
    if options.write:
        page.write_results(reports, list(BENCHMARKS))
        console.print(f"Written: bench/{page.RESULTS.name}, bench/{page.JSON.name}")
    for failure in failures:
        console.print(failure, style="red", markup=False)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure TaskFlow, beside Go asynq where Go is."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--runs", type=_positive, metavar="N", help="how often each figure is measured; default 5")
    parser.add_argument("--quick", action="store_true", help="one run with a tenth of the tasks: does it work at all?")
    parser.add_argument(
        "--scale", type=float, metavar="X", help="factor on numbers of tasks and on durations; default 1"
    )
    parser.add_argument("--full", action="store_true", help="a million tasks for backlog and memory (some minutes)")
    parser.add_argument("--no-go", action="store_true", help="leave asynq out although Go is here")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the reports as JSON")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md and bench/results.json")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run_all(options: argparse.Namespace, console: Console, folder: Path) -> tuple[list[Report], list[str]]:
    names = options.names or list(BENCHMARKS)
    reports: list[Report] = []
    failures: list[str] = []
    busy = machine.busy_note(machine.load(), os.cpu_count() or 1)
    with _progress(console) as progress:
        bar = progress.add_task("building the Go program", total=len(names))
        peer, missing = (None, "left out by --no-go") if options.no_go else processes.build_peer(folder)

        def tell(what: str) -> None:
            progress.update(bar, description=what)

        course = Course(
            tell,
            runs=options.runs or (1 if options.quick else 5),
            scale=options.scale or (_QUICK_SCALE if options.quick else 1.0),
            full=options.full,
            peer=peer,
            peer_missing=missing,
        )
        circumstances = Circumstances(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
            runs=course.runs,
            scale=course.scale,
            machine=machine.facts(),
        )
        for name in names:
            tell(name)
            try:
                report = BENCHMARKS[name](course)
            except (processes.ChildFailed, TaskFlowError) as error:
                failures.append(f"{name} failed: {error}")
            else:
                report.circumstances = circumstances
                report.notes += busy
                reports.append(report)
                page.print_report(console, report)
            progress.advance(bar)
    return reports, failures


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the `with` blocks have ended all processes
        sys.exit(130)
