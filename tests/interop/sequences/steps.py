"""Steps: what a random sequence is made of. The same seed makes the same sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

SIDES = ("go", "python")
HAND, WORKER = "hand", "worker"
"""How Python works in a sequence: step by step, or with a whole worker. An asynq server works beside it at any time."""
GROUPS = ("g1", "g2")
TYPES = ("echo", "echo:keep", "fail", "fail:keep", "skip", "revoke", "sleep", "other", "other:keep")
"""What the workers do by a type's beginning: see `work` in the peer's README. Tasks of a type with `keep` have a retention."""
HOUR = 3600
_RUNNABLE = ("scheduled", "retry", "archived", "aggregating")
_ARCHIVABLE = ("pending", "scheduled", "retry", "aggregating")
_DELETABLE = ("pending", "scheduled", "retry", "archived", "completed", "aggregating")
_IDS = 7
_SHORTEST, _LONGEST = 10, 40


@dataclass(frozen=True)
class Step:
    """One operation of a side; `beside` says that it is done at the same time as the one before."""

    side: str
    op: str
    arguments: Mapping[str, Any]
    beside: bool = False

    def __str__(self) -> str:
        text = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{'  & ' if self.beside else '    '}{self.side}.{self.op}({text})"


@dataclass(frozen=True)
class Sequence:
    """Steps from a seed; at the end, when the queue has come to rest, it may be removed."""

    seed: int
    work: str
    steps: tuple[Step, ...]
    removal: Step | None = None

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, Python works by {self.work}:", *map(str, self.steps)]
        return "\n".join([*lines, *([f"at the end:\n{self.removal}"] if self.removal else [])])


def sequence(seed: int) -> Sequence:
    """Return the sequence of a seed."""
    return _Maker(seed).make()


class _Maker:
    def __init__(self, seed: int) -> None:
        self._dice = Random(seed)
        self._seed = seed

    def make(self) -> Sequence:
        work = self._dice.choice((HAND, WORKER))
        count = self._dice.randint(_SHORTEST, _LONGEST)
        steps = [self._step("enqueue") for _ in range(self._dice.randint(2, 5))]
        steps += [self._step(self._op(work)) for _ in range(count - len(steps))]
        removal = Step(self._dice.choice(SIDES), "delete_queue", {"force": self._dice.random() < 0.7})
        return Sequence(self._seed, work, tuple(steps), removal if self._dice.random() < 0.3 else None)

    def _op(self, work: str) -> str:
        weights = _WEIGHTS | (_BY_HAND if work == HAND else {})
        return self._dice.choices(list(weights), list(weights.values()))[0]

    def _step(self, op: str) -> Step:
        side = "python" if op in _BY_HAND else self._dice.choice(SIDES)
        # asynq reads a message and writes it back in two steps: what comes in between is lost, so nothing may
        beside = op not in {"update_payload", "enqueue"} and self._dice.random() < 0.3
        return Step(side, op, _ARGUMENTS[op](self), beside=beside)

    def id(self) -> str:
        """One of few ids, which no other sequence has: asynq stops running tasks by their id alone."""
        return f"{self._seed}-{self._dice.randrange(_IDS)}"

    def an_id(self) -> dict[str, Any]:
        return {"task_id": self.id()}

    def a_state(self, states: tuple[str, ...]) -> dict[str, Any]:
        state = self._dice.choice(states)
        return {"state": state, "group": self._dice.choice(GROUPS) if state == "aggregating" else ""}

    def a_task(self) -> dict[str, Any]:
        dice = self._dice
        task_type = dice.choice(TYPES)
        payload = dice.choice((b"1", b"2")) if task_type != "sleep" else dice.choice((b"1", b"5", b"30"))
        options: dict[str, Any] = {"task_id": self.id(), "max_retry": dice.choice((0, 1, 2))}
        if task_type.endswith(":keep"):
            options["retention"] = HOUR
        if dice.random() < 0.4:
            options["unique"] = HOUR
        if dice.random() < 0.2:
            options["group"] = dice.choice(GROUPS)
        if dice.random() < 0.3:
            options["process_in"] = dice.choice((0.05, 0.2, HOUR, HOUR + 0.5))
        return {"task_type": task_type, "payload": payload, **options}

    def a_payload(self) -> dict[str, Any]:
        return {"task_id": self.id(), "payload": self._dice.choice((b"1", b"2", b"3"))}

    def an_outcome(self) -> dict[str, Any]:
        name = self._dice.choice(("succeed", "succeed", "fail", "excuse", "archive", "requeue"))
        return {"which": self._dice.randrange(10), "outcome": name, "delay": self._dice.choice((0, 0.2, HOUR))}

    def an_aggregation(self) -> dict[str, Any]:
        return {
            "task_id": f"{self._seed}-aggregate-{self._dice.randrange(10**6)}",
            "size": self._dice.choice((1, 2, 5)),
            "end": self._dice.choice(("settle", "settle", "reopen", "abandon")),
        }

    def a_count(self) -> dict[str, Any]:
        return {"count": self._dice.randint(1, 3)}


_ARGUMENTS: dict[str, Callable[[_Maker], dict[str, Any]]] = {
    "enqueue": _Maker.a_task,
    "run": _Maker.an_id,
    "archive": _Maker.an_id,
    "delete": _Maker.an_id,
    "cancel": _Maker.an_id,
    "update_payload": _Maker.a_payload,
    "run_all": lambda maker: maker.a_state(_RUNNABLE),
    "archive_all": lambda maker: maker.a_state(_ARCHIVABLE),
    "delete_all": lambda maker: maker.a_state(_DELETABLE),
    "pause": lambda _: {},
    "unpause": lambda _: {},
    "take": _Maker.a_count,
    "settle": _Maker.an_outcome,
    "extend": lambda _: {},
    "forward": lambda _: {},
    "aggregate": _Maker.an_aggregation,
}
_WEIGHTS = {
    "enqueue": 10.0,
    "run": 2.0,
    "archive": 2.0,
    "delete": 2.0,
    "cancel": 1.5,
    "update_payload": 1.0,
    "run_all": 1.0,
    "archive_all": 0.5,
    "delete_all": 0.5,
    "pause": 0.6,
    "unpause": 0.8,
}
_BY_HAND = {"take": 5.0, "settle": 5.0, "extend": 0.5, "forward": 1.0, "aggregate": 1.0}
