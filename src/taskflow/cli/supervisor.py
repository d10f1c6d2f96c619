"""Supervisor: runs child processes, restarts those that die or retire, and ends them all. The other end of each child's leash."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from taskflow.cli.leash import READY, RETIRED
from taskflow.errors import TaskFlowError

_LOG = structlog.get_logger("taskflow.supervisor")
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
"""How long (s) to wait before a dead child is started again, at first and at most."""
_REPLACED = 60.0
"""How long (s) a fresh process may take to be ready in a restart; if it does not, the others stay."""
_LIVED_WELL = 60.0
"""A child that lived this long (s) begins with the first pause again."""


class Part(NamedTuple):
    """A process to keep running: what it is called, and its `taskflow` command line."""

    name: str
    arguments: Sequence[str]


class PartFailed(TaskFlowError):
    """A part ended before it was ready for the first time; it has said why itself."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"the {name} could not start (exit code {code}); its own message is above")
        self.name = name
        self.exit_code = code


class _Child:
    """One process, and our end of its leash."""

    def __init__(self, process: asyncio.subprocess.Process, end: socket.socket) -> None:
        self.process = process
        self.end = end
        self.ready = False
        self.started_at = time.monotonic()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Keeps its parts running until it is told to stop: by SIGINT, SIGTERM, SIGHUP (unless that restarts), or `stop`.

    Each child has a session of its own, so Ctrl-C reaches the supervisor alone, which passes it on once. A second signal is
    passed on too.

    Args:
        parts: What to run.
        grace: Seconds that children may take to stop; then they are killed.
        on_ready: Called once, when all parts are ready for the first time.
        reload: A directory; when a Python file in it changes, the parts are restarted.
        fds: File descriptors that the children inherit.
        restarts: SIGHUP restarts the parts, one after another.

    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        grace: float,
        on_ready: Callable[[], None],
        reload: Path | None = None,
        fds: Sequence[int] = (),
        restarts: bool = False,
    ) -> None:
        self._parts = list(parts)
        self._grace = grace
        self._on_ready = on_ready
        self._reload = reload
        self._fds = list(fds)
        self._restarts = restarts
        self._restarting: asyncio.Task[None] | None = None
        self._children: dict[str, _Child] = {}
        self._waiting = {part.name for part in parts}
        self._stopping = asyncio.Event()
        self._changed = {part.name: asyncio.Event() for part in parts}
        self._ready = {part.name: asyncio.Event() for part in parts}

    def stop(self) -> None:
        """Stop: pass the word on to all children; called again: pass it on again."""
        self._stopping.set()
        for child in self._children.values():
            child.signal(signal.SIGTERM)

    def restart(self) -> None:
        """Put a fresh process in the place of each, one after another; ignored while that is being done."""
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._replace_all())

    async def run(self) -> None:
        """Work until told to stop; no child is left then. Each runs `python -m taskflow` with its part's arguments.

        Raises:
            PartFailed: A part could not start.

        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish
                restarts = self._restarts and number is signal.SIGHUP
                loop.add_signal_handler(number, self.restart if restarts else self.stop)
        keepers = [asyncio.create_task(self._keep(part)) for part in self._parts]
        watching = asyncio.create_task(self._watch_files())
        word = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([word, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {word}:
                task.result()
        finally:
            await self._end(keepers)
            watching.cancel()
            word.cancel()
            if self._restarting is not None:
                self._restarting.cancel()
            others = [task for task in (watching, word, self._restarting) if task is not None]
            await asyncio.gather(*others, *keepers, return_exceptions=True)

    # -- one child ----------------------------------------------------------------------------------------------------

    async def _keep(self, part: Part) -> None:
        """Run a part again and again until told to stop."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            self._changed[part.name].clear()
            child = await self._start(part)
            listening = asyncio.create_task(self._listen(part, child))
            code = await child.process.wait()
            listening.cancel()
            child.end.close()
            del self._children[part.name]
            if self._stopping.is_set():
                return
            if code == RETIRED:
                _LOG.info("a fresh process takes the place of one that has ended in order", part=part.name)
                continue
            if part.name in self._waiting and code >= 0:
                raise PartFailed(part.name, code)
            if self._changed[part.name].is_set():
                continue
            lived = time.monotonic() - child.started_at
            pause = _FIRST_PAUSE if lived > _LIVED_WELL else pause
            await self._mourn(part, child, code, pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _start(self, part: Part) -> _Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a file in the working directory must not stand in for a module of Python's own
                "-m",
                "taskflow",
                *part.arguments,
                "--leash",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *self._fds],
                start_new_session=True,
            )
        child = _Child(process, ours)
        self._children[part.name] = child
        if self._stopping.is_set():  # the word came while the process was being made
            child.signal(signal.SIGTERM)
        return child

    async def _listen(self, part: Part, child: _Child) -> None:
        with suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(child.end, 1) != READY:
                return
            child.ready = True
            self._ready[part.name].set()
            if part.name in self._waiting:
                self._waiting.discard(part.name)
                if not self._waiting and not self._stopping.is_set():
                    self._on_ready()

    async def _mourn(self, part: Part, child: _Child, code: int, pause: float) -> None:
        """Wait before a dead child is started again; one that a change broke waits for the next change."""
        broken = self._reload is not None and not child.ready and code > 0
        if broken:
            _LOG.error("cannot start; waiting for a change of its code", part=part.name, exit_code=code)
        else:
            _LOG.error("a process died; it is started again", part=part.name, exit_code=code, pause_seconds=pause)
        events = [asyncio.create_task(self._stopping.wait()), asyncio.create_task(self._changed[part.name].wait())]
        await asyncio.wait(events, timeout=None if broken else pause, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()

    # -- all children -------------------------------------------------------------------------------------------------

    async def _replace_all(self) -> None:
        """Restart the parts, each when the one before is ready again, so that some work at any time."""
        _LOG.info("restarting, one process after another", processes=len(self._parts))
        for part in self._parts:
            old = self._children.get(part.name)
            if old is None:  # it is about to be started anyway
                continue
            self._ready[part.name].clear()
            self._changed[part.name].set()
            old.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_REPLACED):
                    await self._ready[part.name].wait()
            except TimeoutError:
                _LOG.error("the fresh process is not ready; the others stay as they are", part=part.name)
                return
        _LOG.info("restarted", processes=len(self._parts))

    async def _watch_files(self) -> None:
        if self._reload is None:
            return
        async for changed in _changes(self._reload):
            _LOG.info("code changed; restarting", file=changed)
            for event in self._changed.values():
                event.set()
            for child in self._children.values():
                child.signal(signal.SIGTERM)

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """End all children, by force after the grace."""
        if not self._stopping.is_set():
            self.stop()
        _, late = await asyncio.wait(keepers, timeout=self._grace)
        if late:
            for name, child in self._children.items():
                _LOG.warning("it did not stop in time; it is killed", part=name, pid=child.process.pid)
                child.signal(signal.SIGKILL)
            await asyncio.wait(late)


async def _changes(directory: Path) -> AsyncIterator[str]:
    """Yield the path of a Python file whenever some have changed in a directory."""
    from watchfiles import PythonFilter, awatch

    async for changes in awatch(directory, watch_filter=PythonFilter()):
        yield min(path for _, path in changes)
