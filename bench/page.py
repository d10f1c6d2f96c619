"""The page: reports as tables on a terminal, as Markdown in RESULTS.md and as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.figures import Line, Report, shown

RESULTS = Path(__file__).with_name("RESULTS.md")
JSON = Path(__file__).with_name("results.json")
_COLUMNS = ("", "median", "lowest - highest", "budget", "")
_HEAD = """# Benchmark results

Written by `python -m bench --write`; not edited by hand. Each figure is the median over the runs, with the lowest and the highest
beside it. A ratio compares medians of the same run, measured in turn: absolute figures of a shared machine drift by
±40 %, ratios less. Budgets are the project's own aims; a missed one is shown as it is.
"""


def print_report(console: Console, report: Report) -> None:
    """Print a report as a table."""
    table = Table(title=report.title, title_justify="left", title_style="bold")
    for column, justify in zip(_COLUMNS, ("left", "right", "right", "right", "left"), strict=True):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for line in report.lines:
        style = {"met": "green", "missed": "red"}.get(line.verdict, "")
        cells = _cells(line)
        table.add_row(*cells[:-1], f"[{style}]{cells[-1]}[/{style}]" if style else "")
    if report.lines:
        console.print(table)
    else:
        console.print(f"[bold]{report.title}[/bold]")
    for note in report.notes:
        console.print(f"Note: {note}", markup=False)
    console.print()


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    budget = line.budget.text(line.unit) if line.budget else ""
    return line.label, shown(line.median, line.unit), line.span, budget, line.verdict


def write_json(path: Path, reports: list[Report]) -> None:
    """Write reports as JSON: an array of the fields of `Report`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=2) + b"\n")


def read_json(path: Path) -> list[Report]:
    """Read what `write_json` wrote; nothing if there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Report]) if path.exists() else []


def write_results(reports: list[Report], order: list[str]) -> None:
    """Write RESULTS.md and results.json; what earlier runs say of other benchmarks stays, under its own date."""
    by_name = {report.name: report for report in [*read_json(JSON), *reports]}
    kept = [by_name[name] for name in order if name in by_name]
    write_json(JSON, kept)
    RESULTS.write_text("\n".join([_HEAD, *(markdown(report) for report in kept)]))


def markdown(report: Report) -> str:
    """Return a report as a section of Markdown."""
    parts = [f"## {report.title}", "", report.method, ""]
    if report.lines:
        parts += ["| " + " | ".join(_COLUMNS) + " |", "|---|--:|--:|--:|---|"]
        parts += ["| " + " | ".join(_cells(line)) + " |" for line in report.lines]
        parts.append("")
    parts += [f"Note: {note}\n" for note in report.notes]
    if report.circumstances is not None:
        facts = report.circumstances
        machine = ", ".join(f"{name} {value}" for name, value in facts.machine.items())
        scale = "" if facts.scale == 1 else f", {facts.scale:g} of the usual amounts"
        parts += [
            f"{facts.date}, `{facts.command}`, runs: {facts.runs}{scale}. {machine[:1].upper()}{machine[1:]}.",
            "",
        ]
    return "\n".join(parts)
