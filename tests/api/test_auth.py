"""API keys: who is let in, for what, to which queues; how keys are stored and read again."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from structlog.testing import capture_logs

from taskflow.api.keys import KeyRing, append_key, digest_of, line_of, new_key, read_keys
from taskflow.application.changes import QueueChanges
from taskflow.application.limited import LimitedService
from taskflow.application.progress import TaskProgress
from taskflow.application.scanning import TaskScan
from taskflow.application.service import TaskService
from taskflow.asgi import check_address
from taskflow.client import Client
from taskflow.config import describe, load_settings
from taskflow.config.api import Auth
from taskflow.config.keys import KeyRecord
from taskflow.errors import ConfigError

TASKS = "/api/v1/tasks"
QUEUES = "/api/v1/queues"
KEYS = {
    "reader": {"scopes": ["read"]},
    "writer": {"scopes": ["write"]},
    "admin": {"scopes": ["admin"]},
    "tenant": {"scopes": ["read", "write"], "queues": ["tenant-*"]},
    "landlord": {"scopes": ["admin"], "queues": ["tenant-*"]},
}
AUTH = {"api__auth__keys": [{"name": name, "digest": digest_of(name), **rest} for name, rest in KEYS.items()]}


def by(name: str) -> dict[str, str]:
    """The header of a key; in these tests a key is its own name."""
    return {"Authorization": f"Bearer {name}"}


@pytest.fixture
async def http(serving: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API with keys, behind a real server."""
    async with serving(api__allow_types="*", **AUTH) as (_, url), httpx.AsyncClient(base_url=url) as client:
        yield client


# -- who is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{TASKS}/1", QUEUES, "/api/v1/servers", "/metrics"])
async def test_without_a_key_nobody_is_let_in(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)

    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == 'Bearer realm="taskflow"'


@pytest.mark.parametrize("key", ["", "nobody", "reader2", digest_of("reader"), "ä"])
async def test_a_wrong_key_lets_nobody_in_and_is_told_to_nobody(http: httpx.AsyncClient, key: str) -> None:
    with capture_logs() as logs:
        answer = await http.get(QUEUES, headers={b"X-API-Key": key.encode()})

    assert answer.status_code == 401
    assert not key or key not in answer.text + str(logs)


@pytest.mark.parametrize(
    "header", [{"Authorization": "Bearer reader"}, {"authorization": "bearer  reader"}, {"X-API-Key": "reader"}]
)
async def test_a_key_may_come_in_either_header(http: httpx.AsyncClient, header: dict[str, str]) -> None:
    assert (await http.get(QUEUES, headers=header)).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/live", "/docs", "/docs/docs.js", "/openapi.json"])
async def test_probes_and_documents_are_open(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 200
    assert (await http.get(path, headers=by("nobody"))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", QUEUES, "read"),
        ("GET", "/metrics", "read"),
        ("POST", TASKS, "write"),
        ("DELETE", f"{TASKS}/1", "write"),
        ("POST", f"{QUEUES}/default/pause", "admin"),
        ("POST", f"{QUEUES}/default/tasks/archived/delete", "admin"),
        ("DELETE", f"{QUEUES}/default", "admin"),
        ("PUT", "/api/v1/schedules/s", "admin"),
    ],
)
async def test_a_key_without_the_scope_is_told_which_one_is_missing(
    http: httpx.AsyncClient, method: str, path: str, scope: str
) -> None:
    for name in ("reader", "writer", "admin"):
        answer = await http.request(method, path, headers=by(name))
        if KEYS[name]["scopes"][0] in {scope, "admin"}:
            assert answer.status_code not in {401, 403}
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
            assert answer.json()["details"] == {"scope": scope}
            assert repr(scope) in answer.json()["error"]


async def test_the_document_says_which_scope_an_operation_needs(http: httpx.AsyncClient, http_with: Any) -> None:
    document = (await http.get("/openapi.json")).json()

    operations = {item["operationId"]: item for path in document["paths"].values() for item in path.values()}
    assert operations["getTask"]["security"] == [{"bearer": ["read"]}, {"key": ["read"]}]
    assert operations["createTask"]["security"][0] == {"bearer": ["write"]}
    assert operations["deleteQueue"]["security"][0] == {"bearer": ["admin"]}
    assert operations["metrics"]["security"][0] == {"bearer": ["read"]}
    assert "security" not in operations["health"]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    assert {"401", "403"} <= set(operations["listQueues"]["responses"])
    async with http_with() as without_keys:
        assert "securitySchemes" not in (await without_keys.get("/openapi.json")).json()["components"]


# -- queues of a key --------------------------------------------------------------------------------------------------


@pytest.fixture
async def _tasks(client: Client) -> None:
    for queue, name in (("other", "same"), ("other", "theirs"), ("tenant-1", "same"), ("tenant-1", "ours")):
        await client.enqueue("demo", task_id=name, queue=queue)


@pytest.mark.usefixtures("_tasks")
async def test_a_key_with_queues_sees_no_others(http: httpx.AsyncClient) -> None:
    http.headers.update(by("tenant"))

    assert [each["queue"] for each in (await http.get(QUEUES)).json()] == ["tenant-1"]
    assert [each["queue"] for each in (await http.get(f"{QUEUES}/stats")).json()] == ["tenant-1"]
    assert (await http.get(f"{TASKS}/ours")).json()["queue"] == "tenant-1"
    assert (await http.get(f"{TASKS}/same")).json()["queue"] == "tenant-1"
    for path in ("", "/result", "/progress", "/progress/history", "/progress/info", "/progress/stream"):
        answer = await http.get(f"{TASKS}/theirs{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "TASK_NOT_FOUND"), path
    assert (await http.get("/api/v1/progress/stream?task_ids=ours,theirs")).status_code == 404


@pytest.mark.usefixtures("_tasks")
async def test_a_key_with_queues_is_told_of_no_changes_in_others(client: Client) -> None:
    limited = LimitedService(service := _service(client), lambda queue: queue == "tenant-1")
    changes = await limited.changes.follow()

    first = await anext(changes)
    await client.enqueue("demo", queue="other")
    await client.enqueue("demo", queue="tenant-1")
    second = await anext(changes)
    await changes.aclose()
    await service.close()

    assert [[(info.queue, info.pending) for info in found.queues] for found in (first, second)] == [
        [("tenant-1", 2)],
        [("tenant-1", 3)],
    ]


@pytest.mark.usefixtures("_tasks")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{TASKS}/theirs?queue=other"),
        ("GET", f"{TASKS}/theirs/result?queue=other"),
        ("GET", f"{TASKS}/theirs/progress?queue=other"),
        ("GET", f"{TASKS}?queue=other"),
        ("GET", f"{TASKS}?q=x"),
        ("GET", f"{TASKS}?queue=other&cursor="),
        ("POST", f"{QUEUES}/other/tasks/pending/delete"),
        ("GET", f"{QUEUES}/other"),
        ("GET", f"{QUEUES}/stats?queue=other"),
        ("GET", f"{QUEUES}/other/history"),
        ("GET", f"{QUEUES}/other/groups"),
        ("GET", f"{QUEUES}/nobody"),
        ("GET", "/api/v1/events?queue=other"),
        ("GET", "/api/v1/servers"),
        ("GET", "/api/v1/schedules"),
        ("GET", "/metrics"),
        ("POST", f"{QUEUES}/other/pause"),
        ("POST", f"{QUEUES}/other/resume"),
        ("DELETE", f"{QUEUES}/other?force=true"),
        ("POST", f"{TASKS}/theirs/cancel?queue=other"),
        ("POST", f"{TASKS}/theirs/run?queue=other"),
        ("POST", f"{TASKS}/theirs/archive?queue=other"),
        ("DELETE", f"{TASKS}/theirs?queue=other"),
    ],
)
async def test_a_key_with_queues_is_refused_others_that_it_names(
    http: httpx.AsyncClient, client: Client, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers=by("landlord"))

    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert {"other", "tenant-1"} == {info.queue for info in await TaskService.queue_stats(_service(client))}


def _service(client: Client) -> TaskService:
    return TaskService(client, settings=load_settings(environ={}))


@pytest.mark.usefixtures("_tasks")
@pytest.mark.parametrize(("verb", "then"), [("cancel", "archived"), ("archive", "archived"), (None, None)])
async def test_a_key_with_queues_touches_no_task_of_others(
    http: httpx.AsyncClient, client: Client, verb: str | None, then: str | None
) -> None:
    async def steer(name: str) -> int:
        path = f"{TASKS}/{name}/{verb}" if verb else f"{TASKS}/{name}"
        return (await http.request("POST" if verb else "DELETE", path, headers=by("tenant"))).status_code

    assert [await steer(name) for name in ("theirs", "same")] == [404, 200]

    states = {
        queue: [await _state(http, name, queue) for name in ("same", "theirs")] for queue in ("tenant-1", "other")
    }
    assert states == {"tenant-1": [then, None], "other": ["pending", "pending"]}


async def _state(http: httpx.AsyncClient, task_id: str, queue: str) -> str | None:
    body = (await http.get(f"{TASKS}/{task_id}", params={"queue": queue}, headers=by("admin"))).json()
    state: str | None = body.get("state")
    return state


async def test_a_key_with_queues_creates_tasks_in_them_only(http: httpx.AsyncClient) -> None:
    http.headers.update(by("tenant"))

    created = await http.post(TASKS, json={"type": "demo", "payload": 1, "queue": "tenant-2"})
    by_default = await http.post(TASKS, json={"type": "demo", "payload": 1})
    batch = await http.post(
        f"{TASKS}/batch",
        json={"tasks": [{"type": "demo", "payload": 1, "queue": queue} for queue in ("other", "tenant-2")]},
    )

    assert created.status_code == 201
    assert by_default.status_code == 403
    assert "'default'" in by_default.json()["error"]
    assert [each.get("code") for each in batch.json()["results"]] == ["FORBIDDEN", None]


@pytest.mark.parametrize(
    ("whole", "part"),
    [(TaskService, None), (TaskProgress, "progress"), (TaskScan, "scan"), (QueueChanges, "changes")],
    ids=str,
)
async def test_limits_are_decided_for_every_use_case(client: Client, whole: type[Any], part: str | None) -> None:
    """A new public method must be given its limits in `LimitedService`, or be named here as one that needs none."""
    need_none = {"connect", "close", "ping", "create", "create_many", "result"}
    need_none |= {"type", "servers", "stalls", "keep_sampling"}
    service = LimitedService(_service(client), lambda _: True)
    limited = type(service if part is None else getattr(service, part))

    public = {name for name, _ in inspect.getmembers(whole, callable) if not name.startswith("_")}

    assert public - need_none <= set(vars(limited)), f"{limited.__name__} does not say what becomes of them"


# -- how keys are stored ----------------------------------------------------------------------------------------------


def record(name: str = "a", key: str = "key", **fields: Any) -> KeyRecord:
    return KeyRecord.model_validate({"name": name, "digest": digest_of(key), "scopes": ["read"], **fields})


def test_what_is_stored_is_the_sha256_of_a_key_that_nobody_guesses() -> None:
    key = new_key()

    assert len(key) > 40
    assert key != new_key()
    assert digest_of(key) == "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    assert key not in repr(record(key=key)) + line_of(record(key=key))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def test_the_key_file_is_a_list_with_a_key_on_each_line(key_file: Path) -> None:
    append_key(key_file, record("a"))
    with key_file.open("a") as file:
        file.write(f"# by hand\n- name: b\n  digest: {'0a' * 32}\n  scopes: [read, write]")
    append_key(key_file, record("c", queues=["c-*"]))

    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [each["name"] for each in yaml.safe_load(key_file.read_text())] == ["a", "b", "c"]
    assert [(each.name, each.scopes, each.queues) for each in read_keys(key_file)] == [
        ("a", ("read",), ()),
        ("b", ("read", "write"), ()),
        ("c", ("read",), ("c-*",)),
    ]
    with pytest.raises(ConfigError, match="two keys are called 'a'"):
        append_key(key_file, record("a"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {name: a, digest: secret, scopes: [read]}", "SHA-256"),
        ("- {name: a, digest: secret, scopes: [all]}", "scopes"),
        ("secret: [", "line 1"),
        ("secret", "valid"),
        ("- {name: a b, digest: secret, scopes: [read]}", "name"),
    ],
)
def test_what_is_wrong_with_a_key_file_is_said_without_a_secret(key_file: Path, text: str, problem: str) -> None:
    key_file.write_text(text)

    with pytest.raises(ConfigError, match=problem) as caught:
        KeyRing(Auth(key_file=str(key_file)))

    assert str(key_file) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_changed_is_read_again_and_a_broken_one_keeps_the_keys(key_file: Path) -> None:
    now = [0.0]
    append_key(key_file, record("a", "one"))
    ring = KeyRing(Auth(key_file=str(key_file)), clock=lambda: now[0])

    def known() -> list[str]:
        return [found.name for key in (b"one", b"two") if (found := ring.find(key))]

    append_key(key_file, record("b", "two"))
    assert known() == ["a"]  # it is looked at once a second
    now[0] += 1
    assert known() == ["a", "b"]
    key_file.write_text("broken: [")
    now[0] += 1
    with capture_logs() as logs:
        assert known() == ["a", "b"]
        now[0] += 1
        assert known() == ["a", "b"]
    assert [line["log_level"] for line in logs] == ["error"]
    key_file.unlink()
    now[0] += 1
    assert known() == ["a", "b"]
    append_key(key_file, record("b", "two"))
    now[0] += 1
    assert known() == ["b"]


async def test_a_key_that_is_taken_away_opens_nothing_any_more(
    serving: Any, key_file: Path, wait_until: Callable[..., Any]
) -> None:
    append_key(key_file, record("a", "one"))
    append_key(key_file, record("b", "two"))
    async with serving(api__auth__key_file=str(key_file)) as (_, url), httpx.AsyncClient(base_url=url) as http:
        assert [(await http.get(QUEUES, headers=by(key))).status_code for key in ("one", "two")] == [200, 200]

        _keep_last(key_file)

        async def refused() -> bool:
            return (await http.get(QUEUES, headers=by("one"))).status_code == 401

        await wait_until(refused)
        assert (await http.get(QUEUES, headers=by("two"))).status_code == 200


def _keep_last(path: Path) -> None:
    """Put a file with only the last line in the place of a key file."""
    new = path.with_suffix(".new")
    new.write_text(path.read_text().splitlines(keepends=True)[-1])
    new.replace(path)


def test_keys_come_from_the_environment_and_are_shown_by_their_names() -> None:
    text = '[{"name": "a", "digest": "' + "0" * 64 + '", "scopes": "read,write", "queues": ["a-*"]}]'

    settings = load_settings(environ={"TASKFLOW_API_AUTH_KEYS": text})

    assert settings.api.auth.keys[0].scopes == ("read", "write")
    assert next(each.value for each in describe(settings) if each.name == "api.auth.keys") == "a"
    assert "0" * 64 not in repr(settings)


def test_a_key_in_place_of_its_digest_is_not_repeated() -> None:
    text = '[{"name": "a", "digest": "secret", "scopes": "read"}]'

    with pytest.raises(ConfigError, match="SHA-256") as caught:
        load_settings(environ={"TASKFLOW_API_AUTH_KEYS": text})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "auth", [{"keys": [record()]}, {"key_file": "keys.yaml"}, {"disabled": True}], ids=lambda auth: next(iter(auth))
)
def test_with_keys_a_public_address_may_be_used(auth: dict[str, Any]) -> None:
    given = {f"api.auth.{name}": value for name, value in auth.items()}

    check_address(load_settings(environ={}, overrides={"server.http.host": "0.0.0.0", **given}))  # noqa: S104 - nothing is bound


def test_keys_and_their_absence_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="although there are keys"):
        load_settings(environ={}, overrides={"api.auth.disabled": True, "api.auth.key_file": "keys.yaml"})
