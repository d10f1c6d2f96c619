"""What the commands that describe a task have in common: its payload and options on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer


def read_span(text: str) -> timedelta:
    """Return the duration that an option says."""
    from taskflow.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


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
