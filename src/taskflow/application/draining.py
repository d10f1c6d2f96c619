"""Draining: worker servers are told to take no more tasks, to let those that run end, and to end."""

from __future__ import annotations

from collections.abc import Iterable

from taskflow.broker.inspector import Inspector
from taskflow.broker.orders import DRAIN, ServerOrders
from taskflow.errors import ServerNotDrainable, ServerNotFound
from taskflow.task import ServerInfo


class Draining:
    """Drains worker servers from afar. Every method raises `BrokerUnavailable` if Redis does not answer.

    Args:
        inspector: Knows the servers.
        orders: How they are told.

    """

    def __init__(self, inspector: Inspector, orders: ServerOrders) -> None:
        self._inspector = inspector
        self._orders = orders

    async def begin(self, server_id: str) -> ServerInfo:
        """Tell a server to drain, as a first SIGTERM would; return it as it is now.

        It begins at once, or at its next heartbeat if the message is lost. Said again, it changes nothing.

        Raises:
            ServerNotFound: No server of this id is alive.
            ServerNotDrainable: It takes no orders: it is a Go worker, or of a release before this.

        """
        for info in await self._inspector.servers():
            if info.id == server_id:
                if not await self._orders.give(server_id, DRAIN):
                    raise ServerNotDrainable(server_id)
                return info
        raise ServerNotFound(server_id)

    async def told(self, server_ids: Iterable[str]) -> dict[str, bool]:
        """Return those of the servers that can be drained from afar, and whether each was told to."""
        return {server_id: order == DRAIN for server_id, order in (await self._orders.given(server_ids)).items()}
