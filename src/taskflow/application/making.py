"""TaskMaker: makes the task that a command describes, within what its type and the settings allow."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from taskflow.application.commands import CreateTask
from taskflow.application.known_types import KnownType, KnownTypes, decode_payload
from taskflow.config import Settings
from taskflow.errors import InvalidCallbackUrl, PayloadTooLarge
from taskflow.task import Task, TaskOptions, check_callback_url, check_task_type
from taskflow.unique import Unique
from taskflow.wire.keys import queue_keys
from taskflow.wire.payload import encode_payload
from taskflow.wire.unique import lock_key


class TaskMaker:
    """Makes tasks.

    Args:
        known_types: Which types there are, and what payloads they take.
        settings: The defaults of tasks, and where webhooks may go.

    """

    def __init__(self, known_types: KnownTypes, settings: Settings) -> None:
        self._known_types = known_types
        self._defaults = settings.tasks
        self._default_queue = settings.queues.default
        self._payload_limit = int(settings.tasks.payload_limit)
        self._hosts = settings.webhooks.allow_hosts

    async def make(self, command: CreateTask) -> Task:
        """Return the task that a command describes, with its type's and the settings' defaults.

        Raises:
            InvalidTaskType: The type is neither published by a worker nor allowed by the settings.
            InvalidPayload: The payload does not fit the type's schema, or is too large (`PayloadTooLarge`).
            InvalidOption: An option cannot be used.

        """
        check_task_type(command.type)
        known = await self._known_types.find(command.type)
        payload = self.payload(command.payload, known)
        options = self._options(command, known)
        if isinstance(options.unique, Unique):  # what is wrong with one task of a batch is said before any is sent
            lock_key(queue_keys(options.queue), command.type, payload, options.unique)
        return Task(command.type, payload, options)

    def payload(self, payload: object, known: KnownType | None) -> bytes:
        """Return the bytes of a payload that fits its type; JSON text without the space between its tokens.

        Raises:
            InvalidPayload: It does not fit, or is too large (`PayloadTooLarge`).

        """
        if isinstance(payload, msgspec.Raw):
            text = bytes(payload)
            if known is None or not known.checks:
                decode_payload(text)
            data = msgspec.json.format(text, indent=-1)
        else:
            data = encode_payload(payload)
        if known is not None:
            known.check(data)
        if len(data) > self._payload_limit:
            raise PayloadTooLarge(len(data), self._payload_limit)
        return data

    def _options(self, command: CreateTask, known: KnownType | None) -> TaskOptions:
        defaults = self._defaults
        queue, max_retries, timeout, unique = command.queue, command.max_retries, command.timeout, command.unique
        if known is not None:
            entry = known.entry
            queue = entry.queue if queue is None else queue
            max_retries = entry.max_retries if max_retries is None else max_retries
            unique = entry.unique if unique is None else unique
            if not timeout and entry.timeout_seconds:
                timeout = timedelta(seconds=entry.timeout_seconds)
        if not timeout and command.deadline is None:
            timeout = defaults.timeout
        return TaskOptions(
            queue=self._default_queue if queue is None else queue,
            max_retries=defaults.max_retries if max_retries is None else max_retries,
            timeout=timeout,
            deadline=command.deadline,
            process_at=command.process_at,
            process_in=command.process_in,
            unique=unique,
            task_id=command.task_id,
            retention=defaults.retention if command.retention is None else command.retention,
            group=command.group,
            headers=command.metadata,
            callback_url=self._callback(command, known),
        )

    def _callback(self, command: CreateTask, known: KnownType | None) -> str | None:
        """Return where a webhook tells of a task's end: what its creator names must be allowed; a type's own is the worker's word."""
        if command.callback_url is None:
            # A task in a group never ends by itself.
            return None if known is None or command.group is not None else known.entry.callback_url
        hosts = self._hosts
        if not hosts:
            raise InvalidCallbackUrl(
                "there are no webhooks here; the setting webhooks.allow_hosts names where they may go"
            )
        if not check_callback_url(command.callback_url).is_at(hosts):
            raise InvalidCallbackUrl("its host is none of those that the setting webhooks.allow_hosts names")
        return command.callback_url
