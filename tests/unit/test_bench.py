"""The benchmarks, with tiny numbers: their programs still run against the code that they measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def bench_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("handler", ["noop", "result"])
def test_a_drain_settles_exactly_its_tasks(redis_url: str, handler: str) -> None:
    from bench.drain import drain_rate

    assert drain_rate(redis_url, 60, 10, handler=handler, keep=handler == "result", log=handler == "noop") > 0


def test_the_scripts_alone_settle_exactly_the_tasks(redis_url: str) -> None:
    from bench.limit import exchange_rate

    assert exchange_rate(redis_url, 60, 10) > 0


@pytest.mark.parametrize(("way", "width"), [("client", 1), ("sync", 1), ("together", 8), ("many", 10)])
def test_every_way_to_enqueue_stores_its_tasks(redis_url: str, way: str, width: int) -> None:
    from bench import tasks
    from bench.enqueue import enqueue_rate
    from bench.roles.producer import WARM_UP

    assert enqueue_rate(redis_url, way, 80, width) > 0

    assert tasks.pending(redis_url) == 80 + WARM_UP


def test_a_drain_that_lost_a_task_has_no_figure(redis_url: str) -> None:
    from bench import processes, tasks

    tasks.fill(redis_url, 3)

    with pytest.raises(processes.ChildFailed, match="0 tasks were settled, not 3; 3 entries are left"):
        tasks.check_drained(redis_url, 3)


def test_a_child_that_fails_says_why(redis_url: str) -> None:
    from bench import processes

    with pytest.raises(processes.ChildFailed, match="unknown field `speed`"):
        processes.run_role("exchanger", {"url": redis_url, "batch": 1, "speed": 1})


def test_figures_are_medians_and_ratios_compare_them() -> None:
    from bench.figures import Line, at_least, at_most, percentile, ratio

    ours, theirs = Line("ours", "/s", [10.0, 90.0, 30.0], at_least(20)), Line("theirs", "/s", [10.0, 20.0, 15.0])
    compared = ratio("ours : theirs", ours, theirs, at_most(1.5))

    assert (ours.median, ours.span, ours.verdict) == (30.0, "10/s - 90/s", "met")
    assert (compared.values, compared.verdict, theirs.verdict) == ([2.0], "missed", "")
    assert [percentile(range(1, 101), percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 1) == 7.0


def test_a_busy_machine_is_mentioned() -> None:
    from bench.machine import busy_note

    assert busy_note(0.5, 2) == []
    assert "load average was 2.6 on 2 cores" in busy_note(2.6, 2)[0]


def test_results_keep_what_earlier_runs_say_of_other_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import page
    from bench.figures import Line, Report, at_most

    monkeypatch.setattr(page, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(page, "JSON", tmp_path / "results.json")
    order = ["drain", "idle"]
    page.write_results([Report("idle", "Idle", "How.", [Line("wait", "ms", [1.0])])], order)
    page.write_results(
        [Report("drain", "Drain", "How.", [Line("rate", "/s", [5.0, 7.0], at_most(5))], ["A note."])], order
    )

    text = (tmp_path / "RESULTS.md").read_text()
    assert [report.name for report in page.read_json(tmp_path / "results.json")] == order
    assert "| rate | 6/s | 5/s - 7/s | ≤ 5/s | missed |" in text
    assert "| wait | 1.00 ms |  |  |  |" in text
    assert "Note: A note." in text


def test_the_command_prints_tables_and_writes_json(tmp_path: Path) -> None:
    target = tmp_path / "reports.json"
    command = [sys.executable, "-m", "bench", "imports", "--runs", "1", "--no-go", "--json", str(target)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Imports: wall time of a new process" in done.stdout
    (report,) = json.loads(target.read_text())
    assert report["name"] == "imports"
    assert report["circumstances"]["command"].startswith("python -m bench imports --runs 1")
    assert report["circumstances"]["machine"]["Redis server"]


def test_an_unknown_name_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "drian"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "drian" in done.stderr
    assert "drain" in done.stderr
