"""A scheduler process for the fault tests: `python fault_scheduler.py REDIS_URL` fires `tick` each second."""

from __future__ import annotations

import asyncio
import sys

from taskflow import ScheduleEntry, Scheduler

TICK = ScheduleEntry(id="tick", spec="@every 1s", type="tick", missed="all")


def main(url: str) -> None:
    """Run the scheduler until it is told to stop."""
    asyncio.run(Scheduler(url, [TICK]).run_with_signals())


if __name__ == "__main__":
    main(*sys.argv[1:])
