"""Offers: what can be done to the tasks of a state, and the words in which it is offered, asked and told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from msgspec import Struct

from taskflow.application.commands import Action
from taskflow.broker.steering import ARCHIVE, CANCEL, DELETE, RUN, Order
from taskflow.dashboard.question import FINAL, Question
from taskflow.errors import InvalidOption, InvalidTaskState
from taskflow.task import TaskInfo, TaskState

_ORDERS: Mapping[Action, Order] = {"run": RUN, "archive": ARCHIVE, "delete": DELETE, "cancel": CANCEL}
_EVENTS: Mapping[Action, str] = {
    "run": "tasks run",
    "archive": "tasks archived",
    "delete": "tasks deleted",
    "cancel": "tasks cancelled",
}
"""What the audit log calls them, as for the API."""
_TOLD: Mapping[Action, str] = {
    "run": "put in line to run",
    "archive": "archived",
    "delete": "deleted",
    "cancel": "cancelled",
}
_RUN_WORDS: Mapping[TaskState, tuple[str, str, str]] = {
    TaskState.ARCHIVED: ("Retry", "Retry", ""),
    TaskState.RETRY: ("Retry now", "Retry", " now"),
    TaskState.COMPLETED: ("Run again", "Run", " again"),
}
"""The label, and the words around the tasks in the question."""
_ASKED_OF_ONE: Mapping[Action, str] = {"delete": "Delete this task?", "cancel": "Stop this task for good?"}
_DETAILS: Mapping[Action, str] = {
    "delete": FINAL,
    "cancel": "They are archived, and not tried again.",
    "archive": "They are not tried again unless somebody runs them.",
}
_UNDO: Mapping[tuple[Action, TaskState], tuple[Action, TaskState, str]] = {
    ("run", TaskState.ARCHIVED): ("archive", TaskState.PENDING, "Archive again"),
    ("archive", TaskState.PENDING): ("run", TaskState.ARCHIVED, "Put back"),
    ("cancel", TaskState.PENDING): ("run", TaskState.ARCHIVED, "Put back"),
}
"""What takes it back, in which state the tasks then are, and what that is called. Where a due time is lost, nothing does."""


class Offer(Struct, frozen=True, kw_only=True):
    """Something that can be done to tasks of a state.

    Attributes:
        action: What.
        state: The state.
        label: What the button says.

    """

    action: Action
    state: TaskState
    label: str

    @property
    def event(self) -> str:
        """What the audit log calls it."""
        return _EVENTS[self.action]

    @property
    def grave(self) -> bool:
        """Whether it is asked about even for one task."""
        return self.action in _ASKED_OF_ONE

    @property
    def undo(self) -> tuple[Action, TaskState, str] | None:
        """The action that takes it back, the state in which the tasks then are, and its label; None: nothing does."""
        return _UNDO.get((self.action, self.state))

    def question_of(self, info: TaskInfo) -> Question | None:
        """Return what is asked on a task's own page; None: nothing."""
        if not self.grave:
            return None
        yes = "Stop it" if self.action == "cancel" else self.label
        detail = f"It is {info.state}: {info.type}, {info.id}"
        return Question(text=_ASKED_OF_ONE[self.action], yes=yes, detail=detail)

    def question(self, count: int, *, fitting: bool = False) -> Question:
        """Return what is asked before it is done to several; `fitting`: to tasks that were searched for."""
        return self._question(f"{count:,}", one=count == 1, fitting=fitting)

    @property
    def pattern(self) -> Question:
        """The question for several tasks, with `#` for how many: the script knows when somebody selects."""
        return self._question("#", one=False, fitting=False)

    def _question(self, number: str, *, one: bool, fitting: bool) -> Question:
        yes = "Cancel them" if self.action == "cancel" else self.label
        return Question(text=self._text(number, one=one, fitting=fitting), yes=yes, detail=self._detail)

    @property
    def _detail(self) -> str:
        if self.action == "cancel" and self.state is TaskState.ACTIVE:
            return "Their workers are told to stop them; then they are archived, and not tried again."
        return _DETAILS.get(self.action, "")

    def _text(self, number: str, *, one: bool, fitting: bool) -> str:
        noun = "task" if one else "tasks"
        tasks = f"{number} {self.state} {noun}"
        if fitting:
            tasks = f"the {tasks} that {'fits' if one else 'fit'}"
        if self.action != "run":
            return f"{self.label} {tasks}?"
        _, before, behind = _RUN_WORDS.get(self.state, ("", "Run", " now"))
        return f"{before} {tasks}{behind}?"

    def told(self, count: int, wanted: int | None = None) -> str:
        """Return what is said once it is done to so many tasks, of those that were wanted."""
        said = "told to stop" if self.action == "cancel" and self.state is TaskState.ACTIVE else _TOLD[self.action]
        text = f"{count:,} {'task' if count == 1 else 'tasks'} {said}."
        left = 0 if wanted is None else wanted - count
        if left <= 0:
            return text
        return f"{text} {left:,} {'was' if left == 1 else 'were'} left alone: not {self.state} any more."


def offers(state: TaskState) -> list[Offer]:
    """Return what can be done to the tasks of a state."""
    return [
        Offer(action=action, state=state, label=_label(action, state))
        for action in get_args(Action)
        if state in _ORDERS[action].states
    ]


def offer_of(action: str, state: TaskState) -> Offer:
    """Return the offer that a form names.

    Raises:
        InvalidOption: There is no such action.
        InvalidTaskState: It cannot be done to tasks of the state.

    """
    if action not in _ORDERS:
        raise InvalidOption("action", f"must be one of {', '.join(_ORDERS)}, not {action[:50]!r}")
    found = next((offer for offer in offers(state) if offer.action == action), None)
    if found is None:
        raise InvalidTaskState(f"tasks that are {state} cannot be {_TOLD[action]}")  # type: ignore[index]  # one of them
    return found


def _label(action: Action, state: TaskState) -> str:
    if action == "run":
        return _RUN_WORDS.get(state, ("Run now",))[0]
    return action.capitalize()
