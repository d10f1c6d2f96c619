"""The Go peer as tests drive it: verbs that answer lines of JSON, and servers that report what they run.

`peer/README.md` describes the verbs. Every wait has an end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import threading
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis.asyncio

from support.waiting import wait_until
from taskflow.wire.keys import CANCEL_CHANNEL

TIMEOUT = 15.0
"""How long (s) an answer, an event or the end of a process may take."""
_LINE_BYTES = 2**22
_FAST = (
    "--task-check-interval=20ms",
    "--delayed-check-interval=50ms",
    "--shutdown-timeout=300ms",
    "--log-level=error",
)
"""Short intervals, so that tests need not wait for asynq's own."""

Reply = dict[str, Any]


def base64_text(data: bytes) -> str:
    """Bytes as the peer writes them."""
    return base64.b64encode(data).decode()


def go_url(url: str) -> str:
    """The same server as asynq spells it: `unix:///path?db=0` is `redis-socket:///path?db=0` there."""
    return url.replace("unix://", "redis-socket://", 1)


class Console:
    """asynq's inspector and client (the verb `inspect`), one process for all tests of a test process.

    It hangs on nobody's event loop: a thread waits for each answer.
    """

    def __init__(self, program: Path, url: str) -> None:
        command = (str(program), "inspect", "--redis", go_url(url))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._turn = threading.Lock()

    async def ask(self, question: Reply) -> Reply:
        """Send a line and return the answer."""
        return await asyncio.to_thread(self._ask, json.dumps(question).encode() + b"\n")

    def _ask(self, line: bytes) -> Reply:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._turn:  # until it has answered, even if nobody waits for it any more
            stdin.write(line)
            stdin.flush()
            answer = stdout.readline()
        assert answer, f"the peer ended without an answer to {line!r}"
        found: Reply = json.loads(answer)
        return found

    def close(self) -> None:
        """Close its input, which ends it."""
        with self._process:  # closes both pipes and waits
            assert self._process.stdin is not None
            self._process.stdin.close()


class Answering:
    """A running verb that answers each line with a line."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    async def ask(self, question: Reply) -> Reply:
        """Send a line and return the answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._turn, asyncio.timeout(TIMEOUT):
            stdin.write(json.dumps(question).encode() + b"\n")
            await stdin.drain()
            line = await stdout.readline()
        assert line, f"the peer ended without an answer to {question}"
        answer: Reply = json.loads(line)
        return answer

    async def close(self) -> None:
        """Close its input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await _ended(self._process)


class GoServer:
    """A running asynq server. `events` has what it has reported, in order."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[Reply] = []
        self._reader = asyncio.create_task(self._read(), name="reader of the Go server")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while (line := await self.process.stdout.readline()).endswith(b"\n"):  # a killed server leaves half a line
            self.events.append(json.loads(line))

    def about(self, kind: str, task_id: str | None = None) -> list[Reply]:
        """The events of a kind ("start", "end"), of one task or of all."""
        return [event for event in self.events if event["event"] == kind and task_id in {None, event.get("id")}]

    async def event(self, kind: str, task_id: str | None = None, *, count: int = 1) -> Reply:
        """Wait for the `count`-th such event."""
        await wait_until(lambda: len(self.about(kind, task_id)) >= count, TIMEOUT)
        return self.about(kind, task_id)[count - 1]

    async def stop(self) -> None:
        """Let it shut down in order: it settles or requeues what runs."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self._end()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self._end()

    async def _end(self) -> None:
        await _ended(self.process)
        await self._reader


async def _ended(process: Process) -> None:
    try:
        async with asyncio.timeout(TIMEOUT):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class GoPeer:
    """The peer on one Redis server."""

    def __init__(self, program: Path, url: str, console: Console) -> None:
        self._program = program
        self._url = url
        self._console = console
        self._scheduler: Answering | None = None
        self._servers: list[GoServer] = []

    async def enqueue(self, task_type: str, payload: bytes | None = None, **options: Any) -> Reply:
        """Enqueue with asynq's client; return its answer: what was stored, or an `error`."""
        answer = await self.ask("enqueue", task=_task(task_type, payload, options))
        stored: Reply = answer["value"] if answer["ok"] else {"error": answer["error"]}
        return stored

    async def schedule(self, spec: str, task_type: str, payload: bytes | None = None, **options: Any) -> str:
        """Register an entry with a running asynq scheduler; return the entry's id."""
        if self._scheduler is None:
            self._scheduler = Answering(await self._start("schedule"))
        answer = await self._scheduler.ask({"spec": spec, **_task(task_type, payload, options)})
        return str(answer["id"])

    async def ask(self, op: str, **fields: Any) -> Reply:
        """Ask asynq's inspector; return its answer, also if that is an error."""
        return await self._console.ask({"op": op, **fields})

    async def inspect(self, op: str, **fields: Any) -> Any:
        """Ask asynq's inspector; return the value of its answer."""
        answer = await self.ask(op, **fields)
        assert answer["ok"], answer["error"]
        return answer["value"]

    async def task(self, task_id: str, queue: str = "default") -> Reply:
        """What asynq's inspector says of a task."""
        found: Reply = await self.inspect("task", queue=queue, id=task_id)
        return found

    async def wait_for_state(self, task_id: str, state: str, queue: str = "default") -> Reply:
        """Wait until asynq's inspector sees a task in a state; return what it says then."""
        found: Reply = {}

        async def reached() -> bool:
            answer = await self.ask("task", queue=queue, id=task_id)
            found.clear()
            found.update(answer.get("value") or {})
            return bool(found.get("state") == state)

        await wait_until(reached, TIMEOUT)
        return found

    async def work(self, *flags: str) -> GoServer:
        """Start an asynq server and return it once it is listed in Redis and listens for cancellations."""
        listeners = await self._listeners()
        server = GoServer(await self._start("work", *_FAST, *flags))
        self._servers.append(server)
        await server.event("ready")

        async def listens() -> bool:
            return await self._listeners() > listeners

        await wait_until(listens, TIMEOUT)
        return server

    async def _listeners(self) -> int:
        async with redis.asyncio.Redis.from_url(self._url) as admin:
            ((_, count),) = await admin.pubsub_numsub(CANCEL_CHANNEL)
        return int(count)

    async def close(self) -> None:
        """End all its processes."""
        if self._scheduler is not None:
            await self._scheduler.close()
        for server in self._servers:
            await server.kill()

    async def _start(self, verb: str, *flags: str) -> Process:
        command = (str(self._program), verb, "--redis", go_url(self._url), *flags)
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES)


def _task(task_type: str, payload: bytes | None, options: Reply) -> Reply:
    return {"type": task_type, "payload": None if payload is None else base64_text(payload), **options}
