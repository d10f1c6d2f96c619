"""ServerOrders: what worker servers are told to do from elsewhere.

asynq has nothing of the kind, and its records have no room for it. So a server that takes orders keeps a key of its own alive,
in which the order is put; a server without one, Go's or an older TaskFlow's, is told nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.wire.keys import ORDER_CHANNEL, ORDERS

DRAIN = b"drain"
"""The order to take no more tasks, to let those that run end, and then to end."""
ATTEND, ORDER = map(Script, ("attend", "order"))


class ServerOrders:
    """The orders on a broker's Redis server. Every method raises `BrokerUnavailable` if it does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def attend(self, server_id: str, *, ttl_seconds: int) -> bytes:
        """Say that a server takes orders for so long; return the one it was given, b'' for none."""
        (order,) = await self._broker.run([Call(ATTEND, (ORDERS + server_id,), [ttl_seconds])])
        return bytes(order)

    async def withdraw(self, server_id: str) -> None:
        """Say that a server takes orders no more."""
        await self._broker.execute(("DEL", ORDERS + server_id))

    async def give(self, server_id: str, order: bytes) -> bool:
        """Tell a server to do something; return False if it takes no orders. It hears of it at once, or at its next heartbeat."""
        (taken,) = await self._broker.run([Call(ORDER, (ORDERS + server_id,), [order])])
        if taken:
            await self._broker.execute(("PUBLISH", ORDER_CHANNEL, server_id))
        return bool(taken)

    async def given(self, server_ids: Iterable[str]) -> dict[str, bytes]:
        """Return those of the servers that take orders, with the one that each was given, b'' for none."""
        ids = list(server_ids)
        found = await self._broker.attempt(*(("GET", ORDERS + each) for each in ids))
        return {server_id: order for server_id, order in zip(ids, found, strict=True) if isinstance(order, bytes)}
