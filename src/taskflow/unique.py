"""Unique: what makes a task the same as another, how long it keeps others out, and what becomes of those."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, get_args

from msgspec import Struct

from taskflow.checks import MAX_SPAN, encodable
from taskflow.errors import InvalidUnique

MAX_KEY_BYTES = 256
_SECOND = timedelta(seconds=1)

Until = Literal["done", "started", "expired"]
"""When a unique lock ends, at the latest after its time; `Unique` says what each means."""
OnConflict = Literal["refuse", "return", "replace"]
"""What becomes of a task whose unique lock another task holds; `Unique` says what each means."""


class _Lifetime(Struct, frozen=True):
    """The only positional argument of `Unique`."""

    ttl: timedelta


class Unique(_Lifetime, frozen=True, kw_only=True, omit_defaults=True):
    """A unique lock: while a task holds it, the same task is not enqueued again. Checked when made.

    Locks are those of a queue and task type. By default the payload makes a task the same, as in asynq.

    Attributes:
        ttl: How long the lock lasts at most: at least 1 s, in whole seconds (rounded up). With a due time it lasts until
            then and this long after.
        key: What makes a task the same, whatever its payload: text of 1 to 256 bytes, such as `user:42`.
        fields: Names of the fields of a JSON object whose values make a task the same: `("user_id",)`. A dot looks into an
            object: `user.id`. A missing field is one more value.
        until: `done` (default): the lock is freed when the task has ended for good: done, archived or deleted. `started`:
            it is freed when a worker takes the task, and a retry does not take it again. `expired`: it lasts for its
            time, whatever becomes of the task.
        on_conflict: `refuse` (default): enqueueing raises `DuplicateTask`. `return`: it returns the task that holds the
            lock. `replace`: that task is removed and the new one takes its place; one that runs, or that has ended,
            cannot be replaced: `DuplicateTask`.

    Raises:
        InvalidUnique: A choice cannot be used.

    """

    key: str | None = None
    fields: tuple[str, ...] | None = None
    until: Until = "done"
    on_conflict: OnConflict = "refuse"

    def __post_init__(self) -> None:
        _check_ttl(self.ttl)
        if self.key is not None and self.fields is not None:
            raise InvalidUnique("give either key or fields, not both")
        if self.key is not None:
            _check_key(self.key)
        if self.fields is not None:
            _check_fields(self.fields)
        _check_choice("until", self.until, get_args(Until))
        _check_choice("on_conflict", self.on_conflict, get_args(OnConflict))


def _check_ttl(ttl: object) -> None:
    if not isinstance(ttl, timedelta) or not _SECOND <= ttl <= MAX_SPAN:
        raise InvalidUnique(f"must be a timedelta of at least 1 second, not {ttl!r}")


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not encodable(key) or not 0 < len(key.encode()) <= MAX_KEY_BYTES:
        raise InvalidUnique(f"key must be UTF-8 text of 1 to {MAX_KEY_BYTES} bytes, not {key!r:.300}")


def _check_fields(fields: object) -> None:
    if not isinstance(fields, tuple) or not fields or not all(map(_is_name, fields)):
        raise InvalidUnique(f"fields must be a tuple of one or more names, such as ('user_id',), not {fields!r:.300}")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != "" and encodable(name)


def _check_choice(name: str, choice: object, choices: tuple[str, ...]) -> None:
    if choice not in choices:
        raise InvalidUnique(f"{name} must be one of {', '.join(choices)}, not {choice!r:.300}")
