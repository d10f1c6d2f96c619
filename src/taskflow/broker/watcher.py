"""Runs a server process and ends it when its owner ends, whatever way that dies. A program of its own; see `embedded.py`.

    python -I -S watcher.py OWNER_PIPE SCRATCH_DIR SERVER [ARGUMENT...] 2> LOG_FILE

OWNER_PIPE is the read end of a pipe whose write end the owner holds: it reports its end once the owner is gone. Processes
that the owner forked hold the write end too, so the parent's pid is checked as well. The server's pid is written to standard
output; the server's own output goes to standard error. SCRATCH_DIR is removed at the end, unless it is empty text.

Only the standard library, and little of it: this process lives beside the server.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time

CHECK_INTERVAL = 0.25
"""Seconds between looks at the server and at the parent."""
STOP_TIMEOUT = 10.0
"""Seconds that the server gets to write what it holds; then it is killed."""


def main(arguments: list[str]) -> int:
    """Start the server, wait until the owner or the server has ended, clean up; return the server's exit code."""
    owner = os.getppid()
    pipe, scratch, *command = arguments
    os.set_inheritable(int(pipe), False)
    signal.signal(signal.SIGTERM, _end)
    # No signal comes between the start of the server and the block that stops it again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = _spawn(command)
    code = None
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.write(1, b"%d\n" % server)
        os.close(1)
        while (code := _exit_code(server)) is None and _owner_lives(int(pipe), owner):
            pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if code is None:
            code = _stop(server)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    return code


def _end(*_: object) -> None:
    raise SystemExit(0)


def _spawn(command: list[str]) -> int:
    """Start the server. Open files that are inheritable go with it: so a lock lasts exactly as long as the server."""
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    return os.posix_spawn(command[0], command, os.environ, file_actions=files, setsigmask=())


def _owner_lives(pipe: int, owner: int) -> bool:
    ended, _, _ = select.select([pipe], [], [], CHECK_INTERVAL)
    return not ended and os.getppid() == owner


def _exit_code(server: int) -> int | None:
    pid, status = os.waitpid(server, os.WNOHANG)
    return abs(os.waitstatus_to_exitcode(status)) if pid else None


def _stop(server: int) -> int:
    """SIGTERM lets the server write its file to the end; SIGKILL if it does not end."""
    deadline = time.monotonic() + STOP_TIMEOUT
    os.kill(server, signal.SIGTERM)
    while (code := _exit_code(server)) is None:
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.01)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
