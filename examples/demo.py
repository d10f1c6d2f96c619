"""The whole system, from nothing to a result, without a person: what `make demo` runs.

It starts `taskflow dev` on free ports in a temporary directory, creates a task over HTTP, shows it running, follows its
progress, shows its result; stops everything, starts it again, and shows that a waiting task has survived. Each step is
printed; the exit code is 0 only if every step went as it should.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

STOP_SECONDS = 10
LOG = "taskflow.log"


class Deviation(Exception):
    """Something did not go as it should."""


def expect(ok: object, what: str) -> None:
    if not ok:
        raise Deviation(what)


def step(text: str) -> None:
    print(f"\n▸ {text}", flush=True)


def show(text: str) -> None:
    print(f"  {text}", flush=True)


def call(method: str, url: str, body: object = None) -> tuple[int, Any]:
    """Make an HTTP request; return the status and the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - our own server
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def events(url: str) -> Iterator[tuple[str, Any]]:
    """Read a stream of server-sent events: name and data of each."""
    with urlopen(url, timeout=20) as stream:  # noqa: S310 - our own server
        name = ""
        for line in stream:
            field, _, value = line.decode().strip().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def wait_for(url: str, fits: Callable[[Any], object], what: str, seconds: float = 10) -> Any:
    """Ask again and again until the answer fits."""
    until = time.monotonic() + seconds
    while True:
        status, body = call("GET", url)
        if status == 200 and fits(body):  # noqa: PLR2004 - OK
            return body
        expect(time.monotonic() < until, f"{what}; the last answer was {status} {body}")
        time.sleep(0.05)


@contextmanager
def system(directory: Path) -> Iterator[dict[str, str]]:
    """Run `taskflow dev`; give its addresses once all is ready; stop it as Ctrl-C would, and see that it does."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TASKFLOW_")}
    environment["TASKFLOW_SERVER_WORKER_HEALTH_PORT"] = "0"
    command = [sys.executable, "-m", "taskflow", "dev", "--port", "0", "--json"]
    with (
        (directory / LOG).open("a") as log,
        subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            line = process.stdout.readline()
            expect(line, "taskflow dev did not start")
            yield json.loads(line)
            process.send_signal(signal.SIGINT)
            started = time.monotonic()
            code = process.wait(STOP_SECONDS)
            expect(code == 0, f"taskflow dev ended with exit code {code}")
            show(f"all processes ended after {time.monotonic() - started:.1f} s")
        finally:
            process.terminate()


def first_run(directory: Path) -> str:
    """Run a task from its creation to its result; return the id of another one, which waits."""
    step("taskflow dev: a store, the API and a worker")
    with system(directory) as addresses:
        for name, address in addresses.items():
            show(f"{name:7} {address}")
        tasks = f"{addresses['api']}/api/v1/tasks"

        step("POST /api/v1/tasks: a demo task of six steps")
        status, created = call("POST", tasks, {"type": "demo", "payload": {"message": "hello", "count": 6}})
        expect(status == 201, f"expected 201, got {status} {created}")  # noqa: PLR2004 - Created
        show(f"{status} {created}")
        task = f"{tasks}/{created['task_id']}"

        step("GET /api/v1/tasks/{id}: it runs, and tells how far it is")
        active = wait_for(
            task, lambda body: body["state"] == "active" and body["progress"], "the task did not become active"
        )
        show(f"state {active['state']}, progress {active['progress']}")

        step("GET /api/v1/tasks/{id}/progress/stream: what it tells, live")
        seen = follow(f"{task}/progress/stream?history=true")
        expect(seen >= 6, f"expected 6 entries at least, got {seen}")  # noqa: PLR2004 - one a step

        step("GET /api/v1/tasks/{id}: its result")
        done = wait_for(task, lambda body: body["state"] == "completed", "the task was not completed")
        show(f"state {done['state']}, result {done['result']}")
        expect(done["result"]["steps"] == 6, f"unexpected result {done['result']}")  # noqa: PLR2004

        step("POST /api/v1/tasks: a task for later")
        later = {"type": "demo", "payload": {"message": "later"}, "process_in": "1h"}
        status, waiting = call("POST", tasks, later)
        expect(status == 201, f"expected 201, got {status} {waiting}")  # noqa: PLR2004
        show(f"{status} {waiting}")
        step("Ctrl-C")
    return str(waiting["task_id"])


def follow(url: str) -> int:
    """Print the events of a stream until the task is done; return how many entries there were."""
    for count, (name, data) in enumerate(events(url)):
        show(f"{name:8} {data['percentage']:3}%  {data['stage']}")
        if name == "done":
            expect(data["status"] == "completed", f"the task ended as {data['status']}")
            return count
    raise Deviation("the stream ended before the task")


def second_run(directory: Path, task_id: str) -> None:
    """Show that the task still waits."""
    step("taskflow dev again: the waiting task is still there")
    with system(directory) as addresses:
        status, task = call("GET", f"{addresses['api']}/api/v1/tasks/{task_id}")
        expect(status == 200, f"the task is gone: {status} {task}")  # noqa: PLR2004
        expect(task["state"] == "scheduled", f"unexpected state {task['state']}")
        show(f"state {task['state']}, due {task['next_process_at']}, payload {task['payload']}")
        step("Ctrl-C")


def main() -> None:
    """Run all steps."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taskflow-demo-") as name:
        directory = Path(name)
        try:
            second_run(directory, first_run(directory))
        except (Deviation, subprocess.TimeoutExpired, OSError) as error:
            print(f"\nNot as it should be: {error}\n\nThe log of taskflow dev:", file=sys.stderr)
            print((directory / LOG).read_text(), file=sys.stderr)
            sys.exit(1)
    print(f"\nAll as it should be, in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
