"""WebhookDelivery: the handler of the tasks that send webhooks. What the receiver answers decides what becomes of one."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from typing import Any

from taskflow.broker.clock import Clock
from taskflow.errors import Retry, SkipRetry, TargetFailed, TargetRefused
from taskflow.urls import HttpUrl
from taskflow.webhooks import DELIVERY_HEADER, SIGNATURE_HEADER, sign
from taskflow.worker.context import TaskContext
from taskflow.worker.outbound import Answer, Outbound
from taskflow.worker.webhooks import Webhook, WebhookOptions

_GONE = 410
_ASK_FOR_TIME = frozenset({429, 503})
_SHORTEST_WAIT = timedelta(seconds=1)
_MOST_OF_ANSWER = 1024
"""How many bytes of an answer's body are read: some servers want them to be."""


class WebhookDelivery:
    """Sends webhooks.

    Args:
        options: How they are sent.
        clock: The one clock: receivers look at the time of the signature.

    """

    def __init__(self, options: WebhookOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._outbound = Outbound(allow_private=options.allow_private, timeout=options.timeout.total_seconds())

    async def close(self) -> None:
        """Close the connections."""
        await self._outbound.close()

    async def deliver(self, context: TaskContext, payload: Webhook) -> dict[str, Any]:
        """Tell of the end of a task.

        Raises:
            SkipRetry: It may not be sent there, or the receiver wants no more of it (410).
            Retry: The receiver asks to be left alone for a while (429 or 503 with Retry-After).
            TargetFailed: It answered with another status than 200 to 299.
            TargetUnreachable: It did not answer.

        """
        body = bytes(payload.event)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"TaskFlow/{version('taskflow-queue')}",
            DELIVERY_HEADER: context.id,
            SIGNATURE_HEADER: sign(body, self._options.secrets, at=self._clock.now()),
        }
        try:
            if not HttpUrl.parse(payload.url).is_at(self._options.allow_hosts):
                raise SkipRetry(f"the setting webhooks.allow_hosts does not allow the host of {payload.url}")
            answer = await self._outbound.request("POST", payload.url, headers=headers, body=body, most=_MOST_OF_ANSWER)
        except (TargetRefused, ValueError) as error:
            raise SkipRetry(str(error)) from error
        self._judge(answer, payload.url)
        return {"status": answer.status}

    def _judge(self, answer: Answer, url: str) -> None:
        if answer.ok:
            return
        if answer.status == _GONE:
            raise SkipRetry(f"{url}: the receiver wants no more of it (410)")
        wait = answer.retry_after(self._clock.now()) if answer.status in _ASK_FOR_TIME else None
        if wait is not None:
            raise Retry(max(wait, _SHORTEST_WAIT), f"{url}: the receiver asks for time ({answer.status})")
        raise TargetFailed(url, answer.status)
