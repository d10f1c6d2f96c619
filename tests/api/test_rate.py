"""How often somebody may ask, and how many wrong keys an address may try."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from taskflow.api.keys import digest_of
from taskflow.api.rate import MAX_NAMES, Buckets
from taskflow.config import load_settings
from taskflow.errors import ConfigError

QUEUES = "/api/v1/queues"
KEYS = [{"name": name, "digest": digest_of(name), "scopes": ["read"]} for name in ("a", "b")]


def test_a_bucket_gives_its_burst_at_once_and_then_keeps_to_the_rate() -> None:
    now = [100.0]
    buckets = Buckets(rate=2, burst=3, clock=lambda: now[0])

    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.25
    assert (buckets.wait("a"), buckets.wait("b"), buckets.wait("c")) == (0.25, 0, 0)
    now[0] += 0.25
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    now[0] += 60
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_the_memory_of_buckets_is_bounded_and_the_busiest_stay() -> None:
    buckets = Buckets(rate=1, burst=2, clock=lambda: 0.0)

    buckets.take("busy")
    for number in range(3 * MAX_NAMES):
        buckets.take(f"passer-by {number}")
        if number == MAX_NAMES // 2:
            assert buckets.take("busy") == 0
        if number == MAX_NAMES:
            assert buckets.take("busy") == 1

    assert len(buckets) == MAX_NAMES


@pytest.mark.parametrize("rate", ["100", "0/s", "1/d", "-1/s", "fast"])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.rate_limit\.rate"):
        load_settings(environ={}, overrides={"api.rate_limit.rate": rate})


async def test_each_key_and_each_address_without_one_has_its_own_limit(serving: Any) -> None:
    limits = {"api__rate_limit__rate": "2/h", "api__auth__keys": KEYS}
    async with serving(**limits) as (_, url), httpx.AsyncClient(base_url=url) as http:
        statuses = {
            key: [(await http.get(QUEUES, headers={"X-API-Key": key} if key else {})).status_code for _ in range(3)]
            for key in ("a", "b", "")
        }
        late = await http.get(QUEUES, headers={"X-API-Key": "a"})
        probe = await http.get("/live")

    assert statuses == {"a": [200, 200, 429], "b": [200, 200, 429], "": [401, 401, 429]}
    assert late.json()["code"] == "RATE_LIMITED"
    assert 0 < int(late.headers["retry-after"]) <= 1800
    assert late.json()["details"] == {"retry_after_seconds": int(late.headers["retry-after"])}
    assert late.headers["x-request-id"]
    assert late.headers["x-content-type-options"] == "nosniff"
    assert probe.status_code == 200


async def test_there_is_no_limit_unless_it_is_set(http: httpx.AsyncClient) -> None:
    assert {(await http.get(QUEUES)).status_code for _ in range(150)} == {200}


async def test_an_address_tries_only_so_many_wrong_keys(serving: Any) -> None:
    limits = {"api__rate_limit__failures": "3/h", "api__auth__keys": KEYS}
    async with serving(**limits) as (_, url), httpx.AsyncClient(base_url=url) as http:
        right = [(await http.get(QUEUES, headers={"X-API-Key": "a"})).status_code for _ in range(5)]
        none = [(await http.get(QUEUES)).status_code for _ in range(5)]
        wrong = [(await http.get(QUEUES, headers={"X-API-Key": f"no {n}"})).status_code for n in range(5)]
        after = await http.get(QUEUES, headers={"X-API-Key": "a"})

    assert right == [200] * 5
    assert none == [401] * 5
    assert wrong == [401, 401, 401, 429, 429]
    assert (after.status_code, after.json()["code"]) == (429, "RATE_LIMITED")
    assert int(after.headers["retry-after"]) > 0
