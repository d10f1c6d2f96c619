"""Blocking use, as in Django, Flask or a script: the program enqueues with plain calls, a worker process does the work.

In Django, `app` and its tasks stand in a module `tasks.py`; views call `welcome.enqueue_sync(...)`; and beside the web
server runs `taskflow worker mysite.tasks:app`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from taskflow import Task, TaskFlow, TaskIdTaken, TaskOptions
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()
OUTBOX = Path(os.environ.get("OUTBOX", "outbox.txt"))
ENOUGH_SECONDS = 20


@app.task("user:welcome")
def welcome(name: str) -> None:
    """Greet a user: with a line in a file, so that the other process can see it."""
    with OUTBOX.open("a") as outbox:
        outbox.write(f"welcome, {name}\n")


def view(name: str) -> str:
    """What a web framework calls for a request. It returns at once; the task is stored by then."""
    return welcome.enqueue_sync(name).id


def run() -> None:
    """Play the web server."""
    print("enqueued:", len({view("ada"), view("grace")}), "tasks")

    client = app.sync_client  # any type, any payload, all options; threads may share it
    client.enqueue("user:welcome", {"name": "edsger"}, task_id="welcome-edsger", retention=timedelta(hours=1))
    try:
        client.enqueue("user:welcome", {"name": "edsger"}, task_id="welcome-edsger")
    except TaskIdTaken as error:
        print("refused:", error)

    many = client.enqueue_many(
        Task("user:welcome", {"name": f"user {number}"}, TaskOptions(max_retries=3)) for number in range(100)
    )
    print("enqueued:", len(many), "tasks in one go")

    until = time.monotonic() + ENOUGH_SECONDS
    while not OUTBOX.exists() or len(OUTBOX.read_text().splitlines()) < 103:  # noqa: PLR2004 - 2 + 1 + 100
        if time.monotonic() > until:
            raise SystemExit("the worker did not do its work")
        time.sleep(0.05)
    print("done: the worker has written", len(OUTBOX.read_text().splitlines()), "lines")
    client.close()


def main() -> None:
    """Run the example, and a worker for it, against TASKFLOW_REDIS_URL, else against a server of its own."""
    with ExitStack() as stack:
        if "TASKFLOW_REDIS_URL" not in os.environ:
            os.environ["TASKFLOW_REDIS_URL"] = stack.enter_context(EmbeddedServer()).url
        OUTBOX.unlink(missing_ok=True)
        stack.callback(OUTBOX.unlink, missing_ok=True)
        here = Path(__file__).parent
        command = [sys.executable, "-m", "taskflow", "worker", "sync_client:app", "--health-port", "0"]
        environment = {**os.environ, "OUTBOX": str(OUTBOX.resolve())}
        with subprocess.Popen([*command, "--log-level", "warning"], cwd=here, env=environment) as worker:
            try:
                run()
            finally:
                worker.terminate()


if __name__ == "__main__":
    main()
