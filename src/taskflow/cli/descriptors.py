"""Descriptors: how many files and connections this process may have open."""

from __future__ import annotations

import contextlib
import sys

ENOUGH = 65_536


def allow_many() -> None:
    """Raise the limit as far as the system lets anybody, and no farther than is of use: each connection takes one.

    Shells and service managers give 1,024 to whoever does not ask for more, for the sake of programs that cannot have more.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a system may have a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
