"""How a role is told what to do, and how it answers."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
_STATM = Path("/proc/self/statm")


def read_spec(kind: type[S]) -> S:
    """Return the description that this process was started with."""
    return msgspec.json.decode(sys.argv[1], type=kind)


def answer(**values: object) -> None:
    """Answer with one line."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def wait_for_word() -> None:
    """Wait for a line on standard input."""
    sys.stdin.readline()


def at_end_of_input(call: Callable[[], object]) -> None:
    """Make a call in the running loop once standard input has ended: the benchmark is over, or its process is gone."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while sys.stdin.readline():
            pass
        if not loop.is_closed():
            loop.call_soon_threadsafe(call)

    threading.Thread(target=watch, daemon=True).start()


def resident_mb() -> float:
    """Return the memory of this process in MB (where Linux's figure is missing, the most it ever was)."""
    if _STATM.exists():
        pages = int(_STATM.read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
