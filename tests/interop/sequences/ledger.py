"""Ledger: what a sequence has been answered, and so what the store must hold when it has come to rest.

Where asynq by its own doing leaves a lock behind, the ledger knows for which task, and nothing else is excused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interop.go_peer import Reply
from interop.sequences.steps import Step
from support.image import Image
from support.invariants import misplaced, strange_locks
from taskflow.broker.delivery import Archive, Complete, Done, Outcome, Requeue, Retry
from taskflow.wire.keys import queue_keys

_LIVE = ("pending", "active", "scheduled", "retry", "aggregating")


@dataclass
class Ledger:
    """The books of one sequence on one queue.

    Attributes:
        stored: How many tasks were put in.
        gone: How many have left for good: succeeded without retention, revoked, deleted, made into one.
        processed: How many attempts have ended, as the counters count.
        stopped: Ids that somebody wanted to be stopped.
        perhaps_stopped: How often a handler in Go ended a task for good although it was to be stopped. asynq listens to both at
            once, so if both come at the same moment, it may take such a task for a stopped one.
        ended_before: Ids of tasks that were archived or completed in this life, and so have lost their lock.
        archived_by_go: Ids whose lock asynq kept when it archived them.
        grouped_by_go: Ids of unique tasks that asynq's client put into a group: their hash does not know their lock.
        taken_by_refused: Locks, with the id, that asynq's client set before it found that the id exists.
        deleted_by_go: How many tasks asynq deleted with all that were pending, or with their group: it leaves their locks.
        archived_all: The sides that have archived all tasks of a state, whoever they were.

    """

    queue: str
    stored: int = 0
    gone: int = 0
    processed: int = 0
    stopped: set[str] = field(default_factory=set)
    perhaps_stopped: int = 0
    ended_before: set[str] = field(default_factory=set)
    archived_by_go: set[str] = field(default_factory=set)
    grouped_by_go: set[str] = field(default_factory=set)
    taken_by_refused: set[tuple[str, str]] = field(default_factory=set)
    deleted_by_go: int = 0
    archived_all: set[str] = field(default_factory=set)

    # -- entries ------------------------------------------------------------------------------------------------------

    def answered(self, step: Step, value: Any, *, alone: bool = True) -> None:
        """Enter a step that was carried out, alone or at the same time as others."""
        arguments = step.arguments
        go = step.side == "go"
        if step.op == "enqueue":
            self._stored(arguments, go=go, alone=alone)
        elif step.op == "delete":
            self.gone += 1
        elif step.op == "delete_all":
            self.gone += value
            if go and arguments["state"] in {"pending", "aggregating"}:
                self.deleted_by_go += value
        elif step.op == "archive" or (step.op == "cancel" and not go):
            self.ended_before.add(arguments["task_id"])
            if go:
                self.archived_by_go.add(arguments["task_id"])
        elif step.op == "archive_all" and value:
            self.archived_all.add(step.side)
        if step.op == "cancel":
            self.stopped.add(arguments["task_id"])

    def _stored(self, task: Mapping[str, Any], *, go: bool, alone: bool) -> None:
        self.stored += 1
        if alone:  # else it may have ended since, though that was entered before
            self.ended_before.discard(task["task_id"])
        if go and "unique" in task and "group" in task:
            self.grouped_by_go.add(task["task_id"])

    def refused(self, step: Step, word: str) -> None:
        """Enter a step that was refused."""
        if step.op == "enqueue" and step.side == "go" and word == "id taken" and "unique" in step.arguments:
            lock = queue_keys(self.queue).unique(step.arguments["task_type"], step.arguments["payload"])
            self.taken_by_refused.add((lock, step.arguments["task_id"]))

    def aggregated(self, members: int) -> None:
        """Enter that one task has taken the place of some."""
        self.stored += 1
        self.gone += members

    def settled(self, task_id: str, outcome: Outcome) -> None:
        """Enter what became of an attempt of ours."""
        match outcome:
            case Done():
                self.gone += 1
            case Complete() | Archive():
                self.ended_before.add(task_id)
            case Requeue():
                return
            case Retry(counts=False):
                return
        self.processed += 1

    def go_ended(self, event: Reply) -> None:
        """Enter what asynq's server says of the end of an attempt; what follows from it is asynq's rule."""
        task_id, error, kind = event["id"], event["error"], event["type"]
        exhausted = event["retried"] >= event["max_retry"]
        if task_id in self.stopped and (error is None or kind.startswith("revoke")):
            self.perhaps_stopped += 1
            if exhausted:
                self.archived_by_go.add(task_id)
        if error is None and ":keep" in kind:
            self.ended_before.add(task_id)
        elif error is None or kind.startswith("revoke"):
            self.gone += 1
        elif exhausted or kind.startswith("skip"):
            self.ended_before.add(task_id)
            self.archived_by_go.add(task_id)
        self.processed += 1

    # -- the audit ----------------------------------------------------------------------------------------------------

    def complaints(self, image: Image) -> list[str]:
        """Return what is wrong with a queue at rest: invariants 1, 2, 3 and 5, and the counters."""
        return [*misplaced(image), *self.strange_locks(image), *self._lost_locks(image), *self.imbalance(image)]

    def complaints_midway(self, image: Image) -> list[str]:
        """Return what is wrong with a queue at any time: invariants 2, 3 and 5."""
        return [*misplaced(image), *self.strange_locks(image)]

    def imbalance(self, image: Image) -> list[str]:
        """Return whether tasks were lost or doubled: what was put in is there, or has left for good."""
        wrong = []
        surplus = len(image.hashes) - (self.stored - self.gone)
        if not 0 <= surplus <= self.perhaps_stopped:
            wrong.append(f"{self.stored} tasks went in, {self.gone} have left, but {len(image.hashes)} are there")
        counted = int(image.others.get(f"asynq:{{{self.queue}}}:processed", [b"0"])[0])
        if counted != self.processed:
            wrong.append(f"{self.processed} attempts have ended, but {counted} were counted")
        return wrong

    def strange_locks(self, image: Image) -> list[str]:
        """Return the locks that no live task owns, but for those that asynq leaves behind."""
        wrong = {key: text for key, text in strange_locks(image).items() if not self._left_by_go(image, key)}
        of_the_deleted = [key for key in wrong if not self._owned(image, key)]
        if len(of_the_deleted) <= self.deleted_by_go:
            wrong = {key: text for key, text in wrong.items() if key not in of_the_deleted}
        return list(wrong.values())

    def _left_by_go(self, image: Image, key: str) -> bool:
        """Whether asynq has left the lock to a task that is still known, or lives again."""
        holder, _ = image.locks[key]
        if holder in self.grouped_by_go or (key, holder) in self.taken_by_refused:
            return True
        kept = holder in self.archived_by_go or "go" in self.archived_all
        return kept and image.state(holder) == "archived" and self._owned(image, key)

    @staticmethod
    def _owned(image: Image, key: str) -> bool:
        """Whether the holder of a lock is there and knows it; else it is gone, or lives again with another lock."""
        holder, _ = image.locks[key]
        return holder in image.hashes and image.message(holder).unique_key == key

    def _lost_locks(self, image: Image) -> list[str]:
        """Return the live tasks whose lock is not theirs any more: its time has not run out in a sequence."""
        if self.archived_all:
            return []
        wrong = []
        for task_id, fields in image.hashes.items():
            key = fields.get("unique_key", b"").decode()
            holder, _ = image.locks.get(key, ("nobody", 0))
            if key and image.state(task_id) in _LIVE and task_id not in self.ended_before and holder != task_id:
                wrong.append(f"{task_id!r} is {image.state(task_id)} and its lock is held by {holder!r}")
        return wrong
