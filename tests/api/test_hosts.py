"""A server without keys answers only to names that nobody else can own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from taskflow.api.hosts import is_known
from taskflow.api.keys import digest_of

KEYS = [{"name": "ops", "digest": digest_of("a-key"), "scopes": ["admin"]}]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "10.0.0.7:80",
        "localhost",
        "LocalHost:1",
        "a.localhost",
        "shop",
    ],
)
def test_addresses_and_own_names_are_known(host: str) -> None:
    assert is_known(host, {"shop"})


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "shop.evil", "1:x:2"],
)
def test_all_other_names_are_not(host: str) -> None:
    assert not is_known(host, {"shop"})


async def test_a_page_whose_name_leads_here_can_do_nothing(serving: Any) -> None:
    async with serving(api__allow_types="*") as (_, url), httpx.AsyncClient(base_url=url) as http:
        host = "evil.example:80"
        answers = [
            await http.get("/", headers={"Host": host}),
            await http.get("/api/v1/queues", headers={"Host": host}),
            await http.post(
                "/api/v1/tasks", json={"type": "x", "payload": 1}, headers={"Host": host, "Origin": f"http://{host}"}
            ),
        ]

        assert [(each.status_code, each.json()["code"]) for each in answers] == [(421, "UNKNOWN_HOST")] * 3
        assert (await http.get("/api/v1/queues")).json() == []


@pytest.mark.parametrize(
    "settings",
    [{"server__http__hosts": "evil.example"}, {"api__auth__disabled": True}, {"api__auth__keys": KEYS}],
)
async def test_names_are_believed_where_they_are_named_or_something_else_guards(
    serving: Any, settings: dict[str, Any]
) -> None:
    async with serving(**settings) as (_, url), httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/api/v1/queues", headers={"Host": "evil.example", "X-API-Key": "a-key"})

    assert answer.status_code == 200
