"""Page: the commands of a page of documentation that are sent with curl, and the answers that it shows for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

_BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_STATUS = re.compile(r"\s*(?P<status>[1-5]\d\d):[^\n]*\s*")
_CUT = re.compile(r",? *…")
_SAME = {
    "task_id",
    "id",
    "queue",
    "type",
    "state",
    "status",
    "code",
    "message",
    "group",
    "paused",
    "spec",
    "origin",
    "tasks",
}
"""Fields whose values on the page are those of the real answers; others may differ from run to run."""


class Shown(NamedTuple):
    """A block of commands, and the answer that is shown behind it."""

    commands: str
    status: str
    kind: str
    answer: str


def blocks(page: Path) -> list[Shown]:
    """Return the blocks with curl of a page, in its order; the answer to the last request follows, behind `200:`."""
    text = page.read_text()
    found = list(_BLOCK.finditer(text))
    shown = []
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block["kind"] != "sh" or not re.search(r"\bcurl -", block["text"]):
            continue
        between = _STATUS.fullmatch(text, block.end(), following.start()) if following else None
        if between is None or following is None:
            shown.append(Shown(block["text"], "", "", ""))
        else:
            shown.append(Shown(block["text"], between["status"], following["kind"], following["text"]))
    return shown


def differences(shown: Shown, real: str) -> list[str]:
    """Return where a real answer has not the fields of the one on the page; what stands behind … is not looked at."""
    if shown.kind == "http":
        return _headers(shown.answer, real)
    if shown.kind == "json":
        return _compare("answer", _decoded(shown.answer), json.loads(real), cut="…" in shown.answer)
    wanted = _events(shown.answer)
    if not wanted:
        return [f"{line} is missing" for line in shown.answer.splitlines() if line.startswith("#") and line not in real]
    found = []
    for name, data in wanted:
        problems = [_compare(name, data, other, cut=False) for kind, other in _events(real) if kind == name]
        if all(problems):
            found.append(f"{name}: {problems[-1:]}")
    return found


def _decoded(text: str) -> Any:
    return json.loads(_CUT.sub("", text))


def _headers(shown: str, real: str) -> list[str]:
    """Compare an answer with its status line and headers."""
    head, _, body = shown.partition("\n\n")
    real_head, _, real_body = real.replace("\r", "").partition("\n\n")
    names = {line.partition(":")[0].lower() for line in real_head.splitlines()}
    status, *lines = head.strip().splitlines()
    found = [] if status == real_head.splitlines()[0] else [f"{status} is {real_head.splitlines()[0]}"]
    found += [f"{line} is missing" for line in lines if line.partition(":")[0].lower() not in names]
    return found + (_compare("answer", _decoded(body), json.loads(real_body), cut="…" in body) if body.strip() else [])


def _events(text: str) -> list[tuple[str, Any]]:
    """Return the names and data of server-sent events."""
    return [(name, json.loads(data)) for name, data in re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.MULTILINE)]


def _compare(where: str, shown: Any, real: Any, *, cut: bool) -> list[str]:
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = shown.keys() - real.keys() if cut else shown.keys() ^ real.keys()
        found = [f"{where}: {name} is on one side only" for name in sorted(missing)]
        for name in shown.keys() & real.keys():
            found += _compare(f"{where}.{name}", shown[name], real[name], cut=cut)
        return found
    if isinstance(shown, list) and isinstance(real, list):
        if bool(shown) != bool(real):
            return [f"{where}: one side is empty"]
        return _compare(f"{where}[0]", shown[0], real[0], cut=cut) if shown else []
    name = where.rpartition(".")[2]
    if name in _SAME and not _is_random(shown):
        return [] if shown == real else [f"{where}: {shown!r} is {real!r}"]
    return [] if _kind(shown) == _kind(real) else [f"{where}: {shown!r} is {real!r}"]


def _is_random(value: Any) -> bool:
    """Whether a value is an id that nobody has chosen."""
    return isinstance(value, str) and re.fullmatch(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-)?[0-9a-f]{12}", value) is not None


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
