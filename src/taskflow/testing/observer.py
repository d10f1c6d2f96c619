"""Observer: the outermost layer of middleware, which sees how every attempt ends."""

from __future__ import annotations

import copy
from typing import Any

from taskflow.wire.payload import encode_payload
from taskflow.worker.context import TaskContext
from taskflow.worker.middleware import recovery
from taskflow.worker.registry import Next, Registry


class Observer:
    """Remembers what attempts returned and raised, by task id.

    Attributes:
        results: The result of each attempt that returned, in bytes.
        errors: The exception of each attempt that raised one.

    """

    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}
        self.errors: dict[str, BaseException] = {}

    def around(self, registry: Registry) -> Registry:
        """Return the same handlers and middleware with this layer around them; the registry itself stays as it is."""
        observed = copy.copy(registry)
        within = [layer for layer in registry.middleware if layer is not recovery]
        observed.middleware = [self, *within, recovery]
        return observed

    async def __call__(self, context: TaskContext, call_next: Next) -> Any:
        """Let the attempt be made, and remember its end."""
        self.errors.pop(context.id, None)
        try:
            result = await call_next(context)
            self.results[context.id] = encode_payload(result)
        except BaseException as error:
            self.errors[context.id] = error
            raise
        return result
