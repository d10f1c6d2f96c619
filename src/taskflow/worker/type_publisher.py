"""TypePublisher: tells the catalog which types a worker serves."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.queue import Broker
from taskflow.task import ServerInfo
from taskflow.worker.registry import Registry, Route

_LOG = structlog.get_logger("taskflow.worker")


class TypePublisher:
    """Publishes the types of a registry, and says again and again that they are served.

    Args:
        broker: Where the catalog is.
        registry: The types; those that are added later are published with the next turn.
        version: What the program calls its version; a type may have one of its own.
        describe: Returns the server's record.

    """

    def __init__(
        self, broker: Broker, registry: Registry, *, version: str | None, describe: Callable[[], ServerInfo]
    ) -> None:
        self._catalog = TaskCatalog(broker)
        self._registry = registry
        self._version = version
        self._describe = describe
        self._types: dict[Route, TaskType] = {}

    async def publish(self) -> None:
        """Publish the types; the schemas are sent only if the catalog does not have them."""
        for route in self._registry.routes:
            if route not in self._types:
                self._types[route] = route.published(self._version)
                for problem in route.handler.bad_examples:
                    _LOG.warning(
                        "an example in a docstring is left out",
                        handler=route.handler.name,
                        type=route.type,
                        why=problem,
                    )
        await self._catalog.publish(list(self._types.values()), server=self._describe())

    async def forget(self) -> None:
        """Delete what nobody has served for long from the catalog."""
        await self._catalog.forget()
