"""Observer: the outermost layer of middleware, which sees how every attempt ends."""

from __future__ import annotations

from typing import Any

from taskflow.broker.delivery import Delivery
from taskflow.wire.payload import encode_payload
from taskflow.worker.context import TaskContext
from taskflow.worker.middleware import recovery
from taskflow.worker.registry import Next, Registry


class Observer:
    """Remembers what attempts returned and raised.

    Attributes:
        results: The result of each attempt that returned, in bytes.
        errors: The exception of each attempt that raised one.

    """

    def __init__(self) -> None:
        self.results: dict[Delivery, bytes] = {}
        self.errors: dict[Delivery, BaseException] = {}

    def around(self, registry: Registry) -> Registry:
        """Return the same handlers and middleware with this layer around them; the registry itself stays as it is."""
        observed = registry.replaced({})
        within = [layer for layer in registry.middleware if layer is not recovery]
        observed.middleware = [self, *within, recovery]
        return observed

    async def __call__(self, context: TaskContext, call_next: Next) -> Any:
        """Let the attempt be made, and remember its end."""
        try:
            result = await call_next(context)
            self.results[context.delivery] = encode_payload(result)
        except BaseException as error:
            self.errors[context.delivery] = error
            raise
        return result

    def forget(self, delivery: Delivery) -> BaseException | None:
        """Forget an attempt; return what it raised."""
        self.results.pop(delivery, None)
        return self.errors.pop(delivery, None)
