"""Progress over HTTP, the streams behind a real server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis
from structlog.testing import capture_logs

from support.viewing import viewing
from taskflow import Client, Inspector, Progress, SkipRetry, TaskContext, TaskFlow
from taskflow.api import connection, events
from taskflow.broker.progress import ProgressStream

TASKS = "/api/v1/tasks"
HOUR = timedelta(hours=1)


@pytest.fixture
def steps(app: TaskFlow) -> asyncio.Queue[float | None]:
    """The handler `steps` publishes the numbers put here, ends with None, and fails with -1."""
    orders: asyncio.Queue[float | None] = asyncio.Queue()

    @app.task("steps")
    async def run(ctx: TaskContext) -> None:
        while (percentage := await orders.get()) is not None:
            if percentage < 0:
                raise SkipRetry("no use")
            await ctx.progress(percentage, "working", f"at {percentage}")

    return orders


async def test_progress_is_followed_to_the_end(
    live: httpx.AsyncClient, app: TaskFlow, start_worker: Any, steps: asyncio.Queue[float | None]
) -> None:
    await start_worker(app)
    info = await app.client.enqueue("steps")

    async with viewing(live, f"{TASKS}/{info.id}/progress/stream") as viewer:
        steps.put_nowait(10)
        first = await viewer.next()
        steps.put_nowait(62.5)
        second = await viewer.next()
        steps.put_nowait(None)
        rest = await viewer.rest()

    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("progress", "progress")
    assert first.id == first.data["stream_id"]
    assert first.data == {
        "task_id": info.id,
        "percentage": 10,
        "stage": "working",
        "message": "at 10",
        "timestamp_ms": first.data["timestamp_ms"],
        "is_final": False,
        "status": "",
        "stream_id": first.id,
    }
    assert second.data["percentage"] == 62
    assert [event.name for event in rest] == ["progress", "done"]
    assert rest[0].data == rest[1].data
    assert (rest[1].data["is_final"], rest[1].data["status"]) == (True, "completed")
    assert rest[1].data["percentage"] == 100


async def test_a_stream_opened_after_the_end_answers_at_once(
    live: httpx.AsyncClient, app: TaskFlow, start_worker: Any, steps: asyncio.Queue[float | None]
) -> None:
    await start_worker(app)
    steps.put_nowait(10)
    steps.put_nowait(-1)
    info = await app.client.enqueue("steps")
    await live.get(f"{TASKS}/{info.id}/result?wait=10s")

    async with viewing(live, f"{TASKS}/{info.id}/progress/stream") as viewer:
        seen = await viewer.rest()

    assert seen[-1].name == "done"
    assert seen[-1].data["status"] == "failed"
    assert seen[-1].data["percentage"] == 10


async def test_history_comes_first_and_a_viewer_that_comes_back_goes_on_where_it_stopped(
    live: httpx.AsyncClient, client: Client
) -> None:
    await client.enqueue("demo", task_id="1", retention=HOUR)
    stream = ProgressStream(client.broker)
    for percentage in (1, 2, 3):
        await stream.publish(Progress(task_id="1", percentage=percentage))
    await Inspector(client.broker).cancel("1")
    await stream.publish(Progress(task_id="1", percentage=100), status="cancelled")
    path = f"{TASKS}/1/progress/stream"

    async with viewing(live, f"{path}?history=true") as viewer:
        history = await viewer.rest()
    async with viewing(live, path, **{"Last-Event-ID": history[1].id}) as viewer:
        again = await viewer.rest()
    async with viewing(live, f"{path}?start_id={history[0].id}") as viewer:
        by_query = await viewer.rest()
    async with viewing(live, path) as viewer:
        plain = await viewer.rest()

    assert [event.name for event in history] == ["history", "history", "history", "progress", "done"]
    assert [(event.name, event.data["percentage"]) for event in again] == [
        ("progress", 3),
        ("progress", 100),
        ("done", 100),
    ]
    assert len(by_query) == 4
    assert [event.name for event in plain] == ["progress", "done"]
    assert [bool(event.id) for event in plain] == [False, True]


@pytest.mark.parametrize(("end", "status"), [("cancel", "cancelled"), ("fail", "failed"), ("complete", "completed")])
async def test_a_task_without_progress_tells_its_end_by_its_state(
    live: httpx.AsyncClient, app: TaskFlow, start_worker: Any, end: str, status: str
) -> None:
    @app.task("silent")
    async def silent(end: str) -> None:
        if end == "fail":
            raise SkipRetry("no use")

    info = await app.client.enqueue("silent", {"end": end}, retention=HOUR)
    if end == "cancel":
        await Inspector(app.client.broker).cancel(info.id)
    else:
        await start_worker(app)
        await live.get(f"{TASKS}/{info.id}/result?wait=10s")

    async with viewing(live, f"{TASKS}/{info.id}/progress/stream") as viewer:
        seen = await viewer.rest()
    latest = (await live.get(f"{TASKS}/{info.id}/progress")).json()

    again = await live.get(f"{TASKS}/{info.id}/progress/stream", headers={"Last-Event-ID": seen[-1].id})

    assert [(event.name, event.data["status"], event.data["is_final"]) for event in seen] == [
        ("progress", status, True),
        ("done", status, True),
    ]
    assert again.status_code == 204
    assert (latest["status"], latest["is_final"]) == (status, True)


async def test_a_viewer_of_a_waiting_task_is_told_when_it_is_cancelled(live: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    async with viewing(live, f"{TASKS}/1/progress/stream") as viewer:
        await Inspector(client.broker).cancel("1")
        seen = await viewer.rest()

    assert [(event.name, event.data["status"]) for event in seen] == [("progress", "cancelled"), ("done", "cancelled")]


async def test_a_task_that_disappears_ends_the_stream_with_an_error(live: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    async with viewing(live, f"{TASKS}/1/progress/stream") as viewer:
        await Inspector(client.broker).delete("1", "default")
        seen = await viewer.rest()

    assert [(event.name, event.data["code"]) for event in seen] == [("error", "TASK_NOT_FOUND")]
    assert seen[0].data["message"] == seen[0].data["error"]


async def test_a_quiet_stream_is_kept_alive(
    live: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.02)
    await client.enqueue("demo", task_id="1")

    async with viewing(live, f"{TASKS}/1/progress/stream") as viewer:
        waiting = asyncio.create_task(viewer.next())
        await wait_until(lambda: viewer.comments)
        await ProgressStream(client.broker).publish(Progress(task_id="1", percentage=5))
        event = await waiting

    assert viewer.comments[0].startswith(":")
    assert event is not None
    assert event.data["percentage"] == 5


async def test_a_viewer_that_leaves_leaves_nothing(live: httpx.AsyncClient, client: Client, wait_until: Any) -> None:
    await client.enqueue("demo", task_id="1")
    before = asyncio.all_tasks()

    async with viewing(live, f"{TASKS}/1/progress/stream"):
        await wait_until(lambda: _has_channels(client, 2))

    await wait_until(lambda: _has_channels(client, 0))
    await wait_until(lambda: len(asyncio.all_tasks()) <= len(before) + 1)  # the shared reader stays


async def _has_channels(client: Client, count: int) -> bool:
    (channels,) = await client.broker.execute(("PUBSUB", "CHANNELS", "taskflow:*"))
    return len(channels) == count


async def test_several_tasks_are_followed_in_one_stream(live: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    await client.enqueue("demo", task_id="2")

    async with viewing(live, "/api/v1/progress/stream?task_ids=1,2") as viewer:
        await ProgressStream(client.broker).publish(Progress(task_id="2", percentage=5))
        first = await viewer.next()
        await Inspector(client.broker).cancel("1")
        ends = [await viewer.next(), await viewer.next()]
        await Inspector(client.broker).cancel("2")
        rest = await viewer.rest()

    assert first is not None
    assert (first.name, first.data["task_id"], first.data["progress"]["task_id"]) == ("progress", "2", "2")
    for pair, task_id in ((ends, "1"), (rest, "2")):
        assert [(event.name, event.data["task_id"], event.data["is_final"]) for event in pair if event] == [
            ("progress", task_id, True),
            ("done", task_id, True),
        ]


async def test_a_viewer_of_several_tasks_that_comes_back_misses_nothing_of_any(
    live: httpx.AsyncClient, client: Client
) -> None:
    stream, inspector = ProgressStream(client.broker), Inspector(client.broker)
    for task_id in "123":
        await client.enqueue("demo", task_id=task_id)
    path = "/api/v1/progress/stream?task_ids=1,2,3"
    last, seen = "", []

    async def read(count: int) -> None:
        nonlocal last
        async with viewing(live, path, **{"Last-Event-ID": last}) as viewer:
            for _ in range(count):
                event = await viewer.next()
                assert event is not None
                last = event.id or last
                seen.append((event.name, event.data["progress"]["task_id"], event.data["progress"]["message"]))

    await stream.publish(Progress(task_id="1", percentage=1, message="a"))
    await stream.publish(Progress(task_id="2", percentage=1, message="b"))
    await read(2)
    await stream.publish(Progress(task_id="1", percentage=2, message="c"))
    await inspector.cancel("2")
    await stream.publish(Progress(task_id="2", percentage=1, message="d"), status="cancelled")
    await read(3)
    await inspector.cancel("3")  # it has published nothing
    await read(2)
    await inspector.cancel("1")
    await stream.publish(Progress(task_id="1", percentage=2, message="e"), status="cancelled")
    await read(2)
    again = await live.get(path, headers={"Last-Event-ID": last})

    assert sorted(seen[:2]) == [("progress", "1", "a"), ("progress", "2", "b")]
    assert sorted(seen[2:5]) == [("done", "2", "d"), ("progress", "1", "c"), ("progress", "2", "d")]
    assert seen[5:] == [("progress", "3", ""), ("done", "3", ""), ("progress", "1", "e"), ("done", "1", "e")]
    assert (again.status_code, again.content) == (204, b"")


async def test_a_viewer_of_several_tasks_is_told_of_one_that_is_gone_since(
    live: httpx.AsyncClient, client: Client, raw: redis.Redis
) -> None:
    stream = ProgressStream(client.broker)
    for task_id in "12":
        await client.enqueue("demo", task_id=task_id)
        await stream.publish(Progress(task_id=task_id, percentage=1))
    path = "/api/v1/progress/stream?task_ids=1,2"

    async with viewing(live, path) as viewer:
        first = [await viewer.next(), await viewer.next()][-1]
        assert first is not None
    await Inspector(client.broker).delete("1", "default")
    raw.delete("progress:1")
    async with viewing(live, path, **{"Last-Event-ID": first.id}) as viewer:
        gone = await viewer.next()
        assert gone is not None
    await Inspector(client.broker).delete("2", "default")
    async with viewing(live, path, **{"Last-Event-ID": gone.id}) as viewer:
        rest = await viewer.rest()

    assert (gone.name, gone.data["details"]["task_id"]) == ("error", "1")
    assert [(event.name, event.data["details"]["task_id"]) for event in rest] == [("error", "2")]


@pytest.mark.parametrize("last", ["1-0", "1-0,2-0,3-0", "x,y"])
async def test_a_place_in_another_stream_is_no_place_in_this_one(
    live: httpx.AsyncClient, client: Client, last: str
) -> None:
    for task_id in "12":
        await client.enqueue("demo", task_id=task_id)
    path = "/api/v1/progress/stream?task_ids=1,2"

    answer = await live.get(path, headers={"Last-Event-ID": last})

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


async def test_a_viewer_of_several_tasks_that_leaves_leaves_nothing(
    live: httpx.AsyncClient, client: Client, wait_until: Any
) -> None:
    await client.enqueue("demo", task_id="1")
    await client.enqueue("demo", task_id="2")

    async with viewing(live, "/api/v1/progress/stream?task_ids=1,2"):
        await wait_until(lambda: _has_channels(client, 4))

    await wait_until(lambda: _has_channels(client, 0))


async def test_a_viewer_that_does_not_read_is_dropped(
    serving: Any, client: Client, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_SECONDS", 0.1)
    await client.enqueue("demo", task_id="1")
    entry = Progress(task_id="1", percentage=1, message="x" * 50_000)
    await ProgressStream(client.broker).publish_all([(entry, None)] * 400)

    async with serving() as (server, url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(f"GET {TASKS}/1/progress/stream?history=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.read(12)) == b"HTTP/1.1 200"
        reader._transport.pause_reading()  # type: ignore[attr-defined]

        with capture_logs() as logs:
            await wait_until(lambda: not server.server_state.tasks)
            await wait_until(lambda: not server.server_state.connections)

        assert "a client that does not read was dropped" in [line["event"] for line in logs]
        writer.close()


async def test_a_viewer_that_comes_back_to_the_end_is_told_to_stay_away(
    live: httpx.AsyncClient, client: Client
) -> None:
    await client.enqueue("demo", task_id="1", retention=HOUR)
    stream = ProgressStream(client.broker)
    await Inspector(client.broker).cancel("1")
    await stream.publish(Progress(task_id="1", percentage=1), status="cancelled")
    path = f"{TASKS}/1/progress/stream"

    async with viewing(live, path) as viewer:
        *_, end = await viewer.rest()
    again = await live.get(path, headers={"Last-Event-ID": end.id})
    async with viewing(live, f"{path}?start_id={end.id}") as viewer:
        asked = await viewer.rest()

    assert (again.status_code, again.content) == (204, b"")
    assert [(event.name, event.id) for event in asked] == [("progress", ""), ("done", end.id)]


async def test_a_task_that_runs_again_is_followed_to_its_new_end(live: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    stream = ProgressStream(client.broker)
    inspector = Inspector(client.broker)
    await inspector.archive("1")
    await stream.publish(Progress(task_id="1", percentage=1), status="failed")
    last = (await stream.history("1"))[-1].stream_id
    await inspector.run("1")
    path = f"{TASKS}/1/progress/stream"

    async with viewing(live, path) as fresh, viewing(live, path, **{"Last-Event-ID": last}) as back:
        await stream.publish(Progress(task_id="1", percentage=2))
        news = [await fresh.next(), await back.next()]
        await inspector.cancel("1")
        await stream.publish(Progress(task_id="1", percentage=2), status="cancelled")
        ends = [await fresh.rest(), await back.rest()]

    assert [(event.name, event.data["percentage"]) for event in news if event] == [("progress", 2)] * 2
    assert [[(event.name, event.data["status"]) for event in end[1:]] for end in ends] == [[("done", "cancelled")]] * 2


async def test_nothing_is_lost_and_nothing_repeated_however_often_a_viewer_comes_back(
    live: httpx.AsyncClient, client: Client
) -> None:
    await client.enqueue("demo", task_id="1")
    stream = ProgressStream(client.broker)
    path = f"{TASKS}/1/progress/stream"

    async def publish() -> None:
        for number in range(1, 601):  # more than are kept for all viewers together, and than are read at a time
            await stream.publish(Progress(task_id="1", percentage=0, message=str(number)))
        await Inspector(client.broker).cancel("1")
        await stream.publish(Progress(task_id="1", percentage=0, message="end"), status="cancelled")

    async def read(patience: int) -> list[str]:
        """Read a few events of each stream; come back where it was left."""
        seen: list[str] = []
        last, ended = "", False
        while not ended:
            async with viewing(live, f"{path}?history=true", **{"Last-Event-ID": last}) as viewer:
                for _ in range(patience):
                    event = await viewer.next()
                    assert event is not None
                    if not event.id:
                        continue  # the last entry, which comes again with `done`
                    seen.append(event.data["message"])
                    last = event.id
                    ended = event.name == "done"
                    if ended:
                        break
        return seen

    publishing = asyncio.create_task(publish())
    seen = await asyncio.gather(*(read(patience) for patience in (23, 100, 250, 10_000)))
    await publishing

    assert seen == [[*map(str, range(1, 601)), "end"]] * 4


async def test_a_task_whose_stream_has_expired_tells_its_end_by_its_state(
    live: httpx.AsyncClient, client: Client, raw: redis.Redis
) -> None:
    await client.enqueue("demo", task_id="1")
    stream = ProgressStream(client.broker)
    await stream.publish(Progress(task_id="1", percentage=1))
    last = (await stream.history("1"))[-1].stream_id
    await Inspector(client.broker).cancel("1")
    raw.delete("progress:1")
    path = f"{TASKS}/1/progress/stream"

    async with viewing(live, path) as fresh, viewing(live, path, **{"Last-Event-ID": last}) as back:
        ends = [await fresh.rest(), await back.rest()]
    await Inspector(client.broker).delete("1", "default")
    gone = await live.get(path, headers={"Last-Event-ID": last})

    assert [[(event.name, event.data["status"]) for event in end[1:]] for end in ends] == [[("done", "cancelled")]] * 2
    assert gone.json()["code"] == "TASK_NOT_FOUND"


async def test_there_is_no_place_for_more_streams_than_the_settings_say(
    serving: Any, client: Client, wait_until: Any
) -> None:
    await client.enqueue("demo", task_id="1")
    path = f"{TASKS}/1/progress/stream"

    for setting in ("max", "per_client"):
        async with (
            serving(**{f"api__streams__{setting}": 2}) as (_, url),
            httpx.AsyncClient(base_url=url) as http,
        ):
            async with viewing(http, path), viewing(http, "/api/v1/progress/stream?task_ids=1"):
                refused = await http.get(path)
                unaffected = await http.get("/health")

            async def has_place(http: httpx.AsyncClient = http) -> bool:
                async with http.stream("GET", path) as response:
                    return response.status_code == 200

            await wait_until(has_place)

        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["code"] == "TOO_MANY_STREAMS"
        assert refused.json()["details"] == {"setting": f"api.streams.{setting}", "limit": 2}
        assert unaffected.status_code == 200


async def test_streams_and_waits_end_with_the_server(serving: Any, client: Client, wait_until: Any) -> None:
    await client.enqueue("demo", task_id="1")

    async with (
        serving() as (server, url),
        httpx.AsyncClient(base_url=url) as http,
        asyncio.timeout(4),
        viewing(http, f"{TASKS}/1/progress/stream") as viewer,
    ):
        waiting = asyncio.create_task(http.get(f"{TASKS}/1/result?wait=30s"))
        await wait_until(lambda: len(server.server_state.tasks) == 2)
        server.should_exit = True

        assert await viewer.rest() == []
        assert (await waiting).status_code == 202


async def test_history_and_info(http: httpx.AsyncClient, client: Client) -> None:
    stream = ProgressStream(client.broker)
    empty = (await http.get(f"{TASKS}/1/progress/info")).json()
    none = (await http.get(f"{TASKS}/1/progress/history")).json()
    for percentage in (1, 2):
        await stream.publish(Progress(task_id="1", percentage=percentage, metadata={"n": percentage}))

    history = (await http.get(f"{TASKS}/1/progress/history")).json()
    info = (await http.get(f"{TASKS}/1/progress/info")).json()

    assert empty == {"task_id": "1", "has_progress": False, "length": 0, "first_entry": "", "last_entry": ""}
    assert none == {"task_id": "1", "count": 0, "history": []}
    assert (history["task_id"], history["count"]) == ("1", 2)
    assert [entry["progress"]["metadata"] for entry in history["history"]] == [{"n": "1"}, {"n": "2"}]
    assert info == {
        "task_id": "1",
        "has_progress": True,
        "length": 2,
        "first_entry": history["history"][0]["stream_id"],
        "last_entry": history["history"][1]["stream_id"],
    }


async def test_the_history_begins_where_it_is_asked_to(http: httpx.AsyncClient, client: Client) -> None:
    stream = ProgressStream(client.broker)
    for percentage in (1, 2, 3):
        await stream.publish(Progress(task_id="1", percentage=percentage))
    ids = [entry.stream_id for entry in await stream.history("1")]
    path = f"{TASKS}/1/progress/history"

    counts = [(await http.get(path, params={"start_id": start})).json()["count"] for start in ("-", "", "0", *ids)]
    wrong = await http.get(path, params={"start_id": "first"})

    assert counts == [3, 3, 3, 3, 2, 1]
    assert (wrong.status_code, wrong.json()["code"]) == (400, "INVALID_REQUEST")


async def test_a_stream_of_what_is_new_has_nothing_older(live: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    stream = ProgressStream(client.broker)
    await stream.publish(Progress(task_id="1", percentage=1))
    path = f"{TASKS}/1/progress/stream"

    async with viewing(live, f"{path}?start_id=$") as new, viewing(live, f"{path}?start_id=0") as whole:
        await stream.publish(Progress(task_id="1", percentage=2))
        seen = [await new.next(), await whole.next(), await whole.next()]

    assert [event.data["percentage"] for event in seen if event] == [2, 1, 2]


async def test_numbers_out_of_bounds_break_no_reader(http: httpx.AsyncClient, raw: redis.Redis) -> None:
    raw.xadd("progress:1", {"task_id": "1", "percentage": "1e300", "timestamp_ms": "1e300"})

    answer = await http.get(f"{TASKS}/1/progress")

    assert answer.status_code == 200
    assert answer.json()["progress"]["percentage"] == 100
