"""What the commands that describe a task have in common: its payload and options on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from taskflow.unique import Unique


def read_span(text: str) -> timedelta:
    """Return the duration that an option says."""
    from taskflow.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def read_moment(text: str) -> datetime:
    """Return the time that an option says."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time; write it as 2030-01-31T09:00:00+01:00") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} lacks its time zone; write it as 2030-01-31T09:00:00Z")
    return moment


Payload = Annotated[
    str | None, typer.Argument(metavar="PAYLOAD", help="The payload as JSON; - reads it from standard input.")
]
PayloadFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Read the payload from a file.", exists=True, dir_okay=False)
]
Raw = Annotated[bool, typer.Option("--raw", help="The payload is not JSON but bytes, to be sent as they are.")]
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="The queue. Default: the type's own.")]
MaxRetries = Annotated[int | None, typer.Option(metavar="N", help="How often a failed task is tried again; 0: never.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(parser=read_span, metavar="TIME", help="How long an attempt may take, such as 30s."),
]


class _Until(StrEnum):
    """The choices of --unique-until, as `unique.Until` has them."""

    DONE = "done"
    STARTED = "started"
    EXPIRED = "expired"


class _OnConflict(StrEnum):
    """The choices of --on-conflict, as `unique.OnConflict` has them."""

    REFUSE = "refuse"
    RETURN = "return"
    REPLACE = "replace"


UniqueFor = Annotated[
    timedelta | None,
    typer.Option("--unique", parser=read_span, metavar="TIME", help="Enqueue the same task once in so long: 1h."),
]
UniqueKey = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What makes it the same, within its type. Default: the payload.")
]
UniqueFields = Annotated[
    str | None, typer.Option(metavar="A,B", help="The payload's fields that make it the same: user_id,address.city.")
]
UniqueUntil = Annotated[
    _Until | None,
    typer.Option(help="Let the next one in when it has ended (default), was started, or only after the time."),
]
Clash = Annotated[
    _OnConflict | None,
    typer.Option(
        "--on-conflict",
        help="While the same task is there: refuse (default), return that one, or replace it if it waits.",
    ),
]


def read_unique(
    ttl: timedelta | None,
    *,
    key: str | None,
    fields: str | None,
    until: _Until | None,
    on_conflict: _OnConflict | None,
) -> timedelta | Unique | None:
    """Return the unique lock that the options describe: a time alone is asynq's own."""
    from taskflow.unique import Unique

    choices = {
        "--unique-key": key,
        "--unique-fields": fields,
        "--unique-until": until,
        "--on-conflict": on_conflict,
    }
    made = [name for name, choice in choices.items() if choice is not None]
    if not made:
        return ttl
    if ttl is None:
        raise typer.BadParameter("goes with --unique, which says for how long at most", param_hint=made[0])
    return Unique(
        ttl,
        key=key,
        fields=None if fields is None else tuple(name.strip() for name in fields.split(",")),
        until=until.value if until else "done",
        on_conflict=on_conflict.value if on_conflict else "refuse",
    )


def read_payload(text: str | None, file: Path | None, *, raw: bool) -> Any:
    """Return the payload as it was given: nothing, bytes, or JSON that was looked at."""
    import msgspec

    if text is not None and file is not None:
        raise typer.BadParameter("give either PAYLOAD or --payload-file, not both", param_hint="PAYLOAD")
    if file is not None:
        data = file.read_bytes()
    elif text == "-":
        data = sys.stdin.buffer.read()
    elif text is not None:
        data = text.encode("utf-8", "surrogateescape")
    else:
        return None
    if raw:
        return data
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f'is not JSON: {error}; quote it for your shell: \'{{"message": "hello"}}\''
        raise typer.BadParameter(reason, param_hint="PAYLOAD") from error
    return msgspec.Raw(data)


def read_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Return what --metadata says, each NAME=TEXT."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise typer.BadParameter(f"write NAME=TEXT, not {name!r}", param_hint="--metadata")
    return {name: value for name, _, value in pairs}
