"""Behind a proxy: whose word is believed, and under which path the API stands."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow.client import Client
from taskflow.config import load_settings
from taskflow.errors import ConfigError

CANCEL = "/api/v1/tasks/1/cancel"


async def _address_of(http: httpx.AsyncClient, client: Client, forwarded: str) -> str:
    """The address that the audit log has of a request with a header X-Forwarded-For."""
    await client.enqueue("demo", task_id="1")
    with capture_logs() as logs:
        await http.post(CANCEL, headers={"X-Forwarded-For": forwarded})
    (found,) = (str(line["address"]) for line in logs if line["event"] == "task cancelled")
    return found


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:1234", "203.0.113.7"),
        ("[2001:db8::7]:1234", "2001:db8::7"),
        ("1.1.1.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("1.1.1.1, nonsense, 10.1.2.3", "10.1.2.3"),
        ("", "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_is_believed_as_far_as_it_can_know(
    serving: Any, client: Client, forwarded: str, address: str
) -> None:
    trusted = "127.0.0.1,10.0.0.0/8"
    async with serving(server__http__trusted_proxies=trusted) as (_, url), httpx.AsyncClient(base_url=url) as http:
        assert await _address_of(http, client, forwarded) == address


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_others_are_not_believed(serving: Any, client: Client, trusted: str) -> None:
    async with serving(server__http__trusted_proxies=trusted) as (_, url), httpx.AsyncClient(base_url=url) as http:
        assert await _address_of(http, client, "203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize(("trusted", "status"), [("127.0.0.1", 200), ("10.0.0.0/8", 403)])
async def test_the_host_that_the_browser_asked_for_is_its_own_origin(
    serving: Any, client: Client, trusted: str, status: int
) -> None:
    await client.enqueue("demo", task_id="1")
    headers = {"Origin": "https://tasks.example.org", "X-Forwarded-Host": "tasks.example.org"}

    async with serving(server__http__trusted_proxies=trusted) as (_, url), httpx.AsyncClient(base_url=url) as http:
        assert (await http.post(CANCEL, headers=headers)).status_code == status


def test_what_is_no_network_cannot_be_trusted() -> None:
    with pytest.raises(ConfigError, match=r"trusted_proxies.*proxy\.local"):
        load_settings(environ={}, overrides={"server.http.trusted_proxies": "proxy.local"})


@pytest.mark.parametrize("root", ["/queue", "/api"])
async def test_the_api_may_stand_under_a_path_that_the_proxy_takes_away(serving: Any, root: str) -> None:
    overrides = {"server__http__root_path": root, "api__allow_types": "*"}
    async with serving(**overrides) as (_, url), httpx.AsyncClient(base_url=url) as http:
        made = await http.post("/api/v1/tasks", json={"type": "demo", "payload": 1, "task_id": "1"})
        document = (await http.get("/openapi.json")).json()
        metrics = (await http.get("/metrics")).text

    assert made.headers["location"] == f"{root}/api/v1/tasks/1"
    assert document["servers"] == [{"url": root}]
    assert 'route="/api/v1/tasks' in metrics
