"""TaskScan: tasks found, and steered, in bounded steps; a cursor says where the next step begins."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from taskflow.application.commands import SteerMatching
from taskflow.application.queries import ScanTasks, Steered, TaskChunk
from taskflow.application.search import SCAN_LIMIT, check_listing, group_sizes
from taskflow.application.steering import TaskSteering
from taskflow.broker.inspector import Inspector
from taskflow.broker.reading import LISTS
from taskflow.broker.scan import BEGINNING, Place, Scan
from taskflow.broker.steering import check_group
from taskflow.errors import InvalidOption, QueueNotFound, TaskFlowError
from taskflow.task import TaskInfo, TaskState, check_queue

_CHUNK = 500
"""How many tasks are looked at in one round trip."""
_MAX_CURSOR = 2000
_SCORE = re.compile(rb"-?(inf|\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,3})?)", re.ASCII)
"""How Redis writes a score."""
_DISTANCE = re.compile(rb"\d{1,12}", re.ASCII)


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a walk goes on: whose tasks it goes through, and the last place seen."""

    queue: str
    state: TaskState
    group: str | None
    id: bytes
    at: bytes

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


class TaskScan:
    """Walks through the tasks of a state. Every method raises `BrokerUnavailable` if Redis does not answer.

    Args:
        inspector: Knows the queues.
        scan: Reads the tasks.
        steering: Does something to them.
        default_queue: The queue that is meant where none is named.

    """

    def __init__(self, inspector: Inspector, scan: Scan, steering: TaskSteering, *, default_queue: str) -> None:
        self._inspector = inspector
        self._scan = scan
        self._steering = steering
        self._default_queue = default_queue

    # -- find ---------------------------------------------------------------------------------------------------------

    async def find(self, query: ScanTasks) -> TaskChunk:
        """Return the next tasks that fit, of at most 10,000 looked at, and the cursor for those behind.

        Raises:
            QueueNotFound: The named queue does not exist.
            InvalidOption: The size or the cursor cannot be used, or the group of aggregating tasks is missing.

        """
        check_listing(query)
        queue = query.queue if query.queue is not None else self._default_queue
        cursor = _read(query.cursor, queue, query.state)
        if cursor is not None and cursor.group != query.group:
            raise _foreign_cursor()
        try:
            await self._inspector.queue_infos([queue])
        except QueueNotFound:
            if query.queue is None:
                return TaskChunk([], None)
            raise
        place = Place(cursor.id, cursor.at) if cursor else BEGINNING
        tasks, next_place = await self._search(queue, query, place)
        if next_place is None:
            return TaskChunk(tasks, None)
        return TaskChunk(tasks, _Cursor(queue, query.state, query.group, next_place.id, next_place.at).text())

    async def _search(self, queue: str, query: ScanTasks, place: Place) -> tuple[list[TaskInfo], Place | None]:
        """Return tasks that fit, and the place after which to go on, None at the end."""
        found: list[TaskInfo] = []
        looked_at = 0
        step = _CHUNK if query.choosy else query.size
        while looked_at < SCAN_LIMIT:
            places = await self._scan.places(queue, query.state, group=query.group, after=place, count=step)
            at_end = len(places) < step
            tasks = await self._scan.tasks(queue, query.state, places, query.most_bytes(brief=query.brief))
            for number, task in enumerate(tasks):
                if task is not None and query.fits(task, places[number].at):
                    found.append(task)
                    if len(found) == query.size:
                        return found, None if at_end and number == len(tasks) - 1 else places[number]
            if at_end:
                return found, None
            looked_at += len(places)
            place = places[-1]
        return found, place

    # -- steer --------------------------------------------------------------------------------------------------------

    async def steer(self, command: SteerMatching, go_on: Callable[[], bool]) -> Steered:
        """Do something to all tasks that fit, in chunks of 500, as long as `go_on` says so between two.

        At most as many are looked at as there were at the start, so that new ones cannot keep it going for ever.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidTaskState: That cannot be done to tasks in the state.
            InvalidOption: The cursor is another's, or a group is named and the state is not aggregating.

        """
        check_group(command.group, command.state)
        cursor = _read(command.cursor, command.queue, command.state)
        await self._steering.many(
            command.action, [], command.queue, command.state
        )  # says whether it can be done at all
        count = 0
        (info,) = await self._inspector.queue_infos([command.queue])
        sizes = await group_sizes(self._inspector, info, command.state, command.group)
        for group, size in sizes.items():
            if cursor is not None and cursor.group is not None and (group or "") < cursor.group:
                continue
            place = Place(cursor.id, cursor.at) if cursor is not None and cursor.group == group else BEGINNING
            left = size
            while left > 0:
                places = await self._scan.places(
                    command.queue, command.state, group=group, after=place, count=min(_CHUNK, left)
                )
                if not places:
                    break
                done, place = await self._steer_chunk(command, places, place)
                count += done
                left -= len(places)
                if left > 0 and not go_on():
                    return Steered(count, _Cursor(command.queue, command.state, group, place.id, place.at).text())
        return Steered(count, None)

    async def _steer_chunk(self, command: SteerMatching, places: Sequence[Place], before: Place) -> tuple[int, Place]:
        """Do it to those of some tasks that fit; return to how many, and the place after which to go on.

        That is the last task that stays: in a list, those that left it have no place any more.
        """
        chosen = list(places)
        if command.choosy:
            most = command.most_bytes(brief=True)
            tasks = await self._scan.tasks(command.queue, command.state, places, most)
            pairs = zip(places, tasks, strict=True)
            chosen = [place for place, task in pairs if task is not None and command.fits(task, place.at)]
        ids = [place.id.decode(errors="replace") for place in chosen]
        answers = await self._steering.many(command.action, ids, command.queue, command.state)
        done = {place.id for place, answer in zip(chosen, answers, strict=True) if isinstance(answer, TaskState)}
        if command.state is not TaskState.PENDING:
            return len(done), places[-1]
        return len(done), next((place for place in reversed(places) if place.id not in done), before)


def _read(text: str | None, queue: str, state: TaskState) -> _Cursor | None:
    """Return where a cursor points; None for one that points at the beginning."""
    check_queue(queue)
    if not text:
        return None
    try:
        data = base64.urlsafe_b64decode(text[:_MAX_CURSOR] + "=" * (-len(text[:_MAX_CURSOR]) % 4))
        cursor = msgspec.json.decode(data, type=_Cursor)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise _foreign_cursor() from error
    if (cursor.queue, cursor.state) != (queue, state) or not _is_place(cursor):
        raise _foreign_cursor()
    return cursor


def _is_place(cursor: _Cursor) -> bool:
    form = _DISTANCE if cursor.state in LISTS else _SCORE
    return not cursor.id or form.fullmatch(cursor.at) is not None


def _foreign_cursor() -> TaskFlowError:
    return InvalidOption(
        "cursor", "is not one of this list; send what the last answer named, with the same queue, state and group"
    )
