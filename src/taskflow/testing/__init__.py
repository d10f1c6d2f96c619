"""Helpers for the tests of programs that use TaskFlow. docs/testing.md shows them in use.

They run on the real thing: a handler is run by a worker's own executor, queues are read from a real server. In tests that
are no coroutines, import the same names from `taskflow.testing.sync`.
"""

from taskflow.broker.embedded import EmbeddedServer
from taskflow.testing.attempt import TaskRun, run_task
from taskflow.testing.draining import Drained, drain
from taskflow.testing.enqueued import all_enqueued, assert_enqueued, assert_not_enqueued
from taskflow.testing.workers import running_worker

__all__ = [
    "Drained",
    "EmbeddedServer",
    "TaskRun",
    "all_enqueued",
    "assert_enqueued",
    "assert_not_enqueued",
    "drain",
    "run_task",
    "running_worker",
]
