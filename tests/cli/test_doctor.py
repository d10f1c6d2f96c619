"""`taskflow doctor`, against a real server."""

from __future__ import annotations

import json

import redis

from cli.conftest import Run
from taskflow import SyncClient


def test_what_needs_attention_is_said_with_what_to_do(run_inside: Run, redis_url: str) -> None:
    environ = {"TASKFLOW_REDIS_URL": redis_url}
    with SyncClient(redis_url) as client:
        client.enqueue("note", queue="low")

    told = run_inside("doctor", environ=environ)
    as_json = run_inside("doctor", "--json", environ=environ)

    assert told.returncode == as_json.returncode == 1
    lines = told.stdout.splitlines()
    assert any(line.startswith("redis") for line in lines)
    (error,) = [line for line in lines if line.startswith("error")]
    assert "'low' has no worker, and 1 task waits in it: start one: taskflow worker" in error
    facts = json.loads(as_json.stdout)
    assert [finding["code"] for finding in facts["findings"] if finding["severity"] == "error"] == ["no_worker"]
    assert facts["redis"]["nodes"][0]["eviction"] == "noeviction"


def test_a_system_that_is_well_ends_with_0(run_inside: Run, redis_url: str, raw: redis.Redis) -> None:
    raw.config_set("appendonly", "yes")
    try:
        told = run_inside("doctor", environ={"TASKFLOW_REDIS_URL": redis_url})
    finally:
        raw.config_set("appendonly", "no")

    assert told.returncode == 0, told.stdout
    assert "Nothing needs attention" in told.stdout


def test_no_redis_at_all(run_inside: Run) -> None:
    told = run_inside("doctor", environ={"TASKFLOW_REDIS_URL": "redis://127.0.0.1:1/0"})

    assert told.returncode == 1
    assert "Redis" in told.stderr
