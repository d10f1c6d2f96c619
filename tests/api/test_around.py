"""What stands around every request: ids, headers, origins, health, metrics, documents, and the address rule."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow.api import middleware
from taskflow.api.protocol import Message, Receive, Scope, Send
from taskflow.api.samples.sample import DEV
from taskflow.asgi import check_address, serve
from taskflow.client import Client
from taskflow.config import load_settings
from taskflow.errors import ConfigError

TASKS = "/api/v1/tasks"


# -- request id -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
async def test_a_safe_request_id_comes_back(http: httpx.AsyncClient, given: str) -> None:
    assert (await http.get("/live", headers={"X-Request-ID": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "<script>", "ä".encode()])
async def test_another_request_id_is_replaced(http: httpx.AsyncClient, given: str | bytes) -> None:
    answer = await http.get("/live", headers={b"X-Request-ID": given if isinstance(given, bytes) else given.encode()})

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_errors_have_a_request_id_too(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nowhere", headers={"X-Request-ID": "mine"})).headers["x-request-id"] == "mine"


# -- log --------------------------------------------------------------------------------------------------------------


async def test_each_request_is_one_line(log_lines: Any, http: httpx.AsyncClient, wait_until: Any) -> None:
    await http.get(f"{TASKS}/nobody?secret=1", headers={"X-Request-ID": "mine"})
    await http.get("/live")

    def requests() -> list[dict[str, Any]]:
        return [line for line in log_lines() if line["event"] == "request"]

    await wait_until(requests)
    (line,) = requests()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("duration_ms") > 0
    assert line == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "path": f"{TASKS}/nobody",
        "status": 404,
        "request_id": "mine",
    }


async def test_an_unexpected_error_is_logged_with_the_request_id(http: httpx.AsyncClient, client: Client) -> None:
    await client.broker.execute(("SET", "taskflow:types", "not a hash"))

    with capture_logs() as logs:
        answer = await http.get("/api/v1/task-types", headers={"X-Request-ID": "mine"})

    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    failed = next(line for line in logs if line["event"] == "request failed")
    assert failed["request_id"] == "mine"
    assert "WRONGTYPE" in str(failed["exc_info"])


async def test_changes_are_logged_for_audit(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    with capture_logs() as logs:
        await http.post("/api/v1/queues/default/pause", headers={"X-Request-ID": "a"})
        await http.post(f"{TASKS}/1/cancel", headers={"X-Request-ID": "b"})
        await http.delete(f"{TASKS}/1", headers={"X-Request-ID": "c"})

    audit = [(line["event"], line["request_id"]) for line in logs if line["event"] != "request"]
    assert audit == [("queue paused", "a"), ("task cancelled", "b"), ("task deleted", "c")]


# -- recovery ---------------------------------------------------------------------------------------------------------


async def test_an_application_that_fails_is_answered_for() -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("secret")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await middleware.recovery(failing)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)

    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["code"] == "INTERNAL_ERROR"
    assert b"secret" not in sent[1]["body"]


# -- headers and origins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/live", "/nowhere", "/docs"])
async def test_security_headers(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert len(headers.get_list("content-security-policy")) == 1


async def test_no_origin_is_allowed_unless_named(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    foreign = {"Origin": "https://evil.example"}

    read = await http.get("/live", headers=foreign)
    write = await http.post(f"{TASKS}/1/cancel", headers=foreign)
    own = await http.post(f"{TASKS}/1/cancel", headers={"Origin": "http://127.0.0.1:8080"})

    assert "access-control-allow-origin" not in read.headers
    assert (write.status_code, write.json()["code"]) == (403, "FORBIDDEN")
    assert "api.cors.allow_origins" in write.json()["error"]
    assert own.status_code == 200


async def test_a_named_origin_may_read_and_ask(http_with: Any) -> None:
    origin = {"Origin": "https://app.example.org"}
    async with http_with(api__cors__allow_origins="https://app.example.org") as http:
        read = await http.get("/live", headers=origin)
        other = await http.get("/live", headers={"Origin": "https://evil.example"})
        asked = await http.options(TASKS, headers=origin | {"Access-Control-Request-Method": "POST"})

    assert read.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "X-Total-Count" in read.headers["access-control-expose-headers"]
    assert read.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in other.headers
    assert asked.status_code == 204
    assert "POST" in asked.headers["access-control-allow-methods"]


async def test_the_answer_to_a_wrong_method_names_the_right_ones(http: httpx.AsyncClient) -> None:
    allow = (await http.put(TASKS)).headers["allow"]

    assert {"GET", "POST"} <= {name.strip() for name in allow.split(",")}


# -- health and metrics -----------------------------------------------------------------------------------------------


async def test_health_while_redis_answers(http: httpx.AsyncClient) -> None:
    health, ready, live = [await http.get(path) for path in ("/health", "/ready", "/live")]

    assert health.status_code == ready.status_code == live.status_code == 200
    body = health.json()
    assert body == {"status": "healthy", "timestamp": body["timestamp"], "services": {"redis": "healthy"}}
    assert ready.json() == {"status": "ready"}
    assert live.json() == {"status": "alive"}


async def test_health_while_redis_is_away(http_with: Any) -> None:
    async with http_with("redis://127.0.0.1:1/0") as http:
        health, ready, live, metrics = [await http.get(path) for path in ("/health", "/ready", "/live", "/metrics")]

    assert (health.status_code, health.json()["services"]) == (503, {"redis": "unhealthy"})
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "reason": "redis unavailable"})
    assert (live.status_code, metrics.status_code) == (200, 200)


async def test_metrics_count_requests_by_route_and_show_queues(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo")
    for name in ("a", "b"):
        await http.get(f"{TASKS}/{name}")
    await http.get("/nowhere")

    text = (await http.get("/metrics")).text

    route = f'route="{TASKS}/{{task_id}}"'
    assert re.search(rf'taskflow_http_requests_total{{method="GET",{re.escape(route)},status="404"}} 2\.0', text), text
    assert 'taskflow_queue_tasks{queue="default",state="pending"} 1.0' in text
    assert "/nowhere" not in text


# -- documents --------------------------------------------------------------------------------------------------------


async def test_the_openapi_document_describes_every_operation(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    operations = {item["operationId"]: item for path in document["paths"].values() for item in path.values()}
    assert len(operations) >= 20
    create = operations["createTask"]
    schema = create["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/CreateTaskBody"}
    assert document["components"]["schemas"]["CreateTaskBody"]["required"] == ["type", "payload"]
    assert set(create["responses"]) == {"200", "201", "400", "401", "403", "409", "413", "415", "429", "503"}
    assert set(operations["getTask"]["responses"]) == {"200", "304", "400", "401", "403", "404", "429", "503"}
    examples = operations["cancelTask"]["responses"]["409"]["content"]["application/json"]["examples"]
    assert examples["TASK_FINISHED"]["value"]["code"] == "TASK_FINISHED"
    assert all(item["summary"] for item in operations.values())
    assert [parameter["name"] for parameter in create["parameters"]] == ["Idempotency-Key"]
    assert set(operations["listTasks"]["responses"]["200"]["headers"]) == {"X-Total-Count", "X-Next-Cursor", "Link"}
    assert set(operations["getTask"]["responses"]["200"]["headers"]) == {"ETag"}


async def test_every_reference_of_the_document_leads_somewhere(http: httpx.AsyncClient) -> None:
    text = (await http.get("/openapi.json")).text

    names = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))
    assert names <= set(json.loads(text)["components"]["schemas"])
    assert len(names) > 10


async def test_the_page_needs_nothing_of_another_host(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assets = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert {"docs/docs.css", "docs/docs.js", "openapi.json"} <= set(assets)

    for asset in assets:
        assert not re.match(r"(https?:)?//", asset)
        if not asset.startswith("data:"):
            answer = await http.get(f"/{asset}")
            assert answer.status_code == 200
            text = answer.text.replace(DEV, "")  # the lines for curl, which the page gives its own address
            assert "http://" not in text
            assert "https://" not in text


# -- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_an_address_of_this_machine_may_be_served(host: str) -> None:
    check_address(load_settings(environ={}, overrides={"server.http.host": host}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 - that it is refused is the point
def test_a_public_address_is_refused_without_keys(host: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.auth\.disabled"):
        serve(load_settings(environ={}, overrides={"server.http.host": host}))


def test_a_public_address_may_be_served_if_the_settings_say_so() -> None:
    overrides = {"server.http.host": "0.0.0.0", "api.auth.disabled": True}  # noqa: S104
    check_address(load_settings(environ={}, overrides=overrides))


async def test_a_client_that_sends_too_slowly_is_cut_off(serving: Any) -> None:
    async with serving(server__http__read_timeout="50ms") as (_, url):
        host, port = url.removeprefix("http://").split(":")
        for begin in (
            b"",
            b"GET /live HT",
            b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(begin)
            async with asyncio.timeout(5):
                await reader.read()
            writer.close()
            await writer.wait_closed()


async def test_the_server_does_not_tell_what_it_is(live: httpx.AsyncClient) -> None:
    assert "server" not in (await live.get("/live")).headers


async def test_the_application_can_be_mounted_in_another(redis_url: str) -> None:
    fastapi = pytest.importorskip("fastapi")
    from taskflow.asgi import create_app

    outer = fastapi.FastAPI()
    outer.mount("/queue", create_app(load_settings(environ={}), redis_url="redis://127.0.0.1:1/0"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=outer), base_url="http://x") as http:
        answer = await http.get("/queue/live")

    assert answer.json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (TASKS, "GET, OPTIONS, POST"),
        (f"{TASKS}/1", "DELETE, GET, OPTIONS, PATCH"),
        ("/api/v1/schedules/nightly", "DELETE, GET, OPTIONS, PUT"),
        ("/health", "GET, OPTIONS"),
    ],
)
async def test_options_names_all_methods_of_a_path(http: httpx.AsyncClient, path: str, allowed: str) -> None:
    answer = await http.options(path)

    assert (answer.status_code, answer.headers["allow"]) == (204, allowed)
