"""asynq's tools on a TaskFlow system in a Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interop.asynq_cli import AsynqCli
from interop.asynqmon import Asynqmon, table
from interop.scene import GROUP, IN_STATE, STATES, Scene
from support.browser import Window
from support.servers import require
from support.topologies import ClusterSetup
from support.waiting import wait_until
from taskflow import TaskState

pytestmark = [pytest.mark.go, pytest.mark.stock_redis]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSetup]:
    running = ClusterSetup(require("redis-server"), tmp_path_factory.mktemp("cluster"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def redis_url(cluster: ClusterSetup) -> str:
    """URL of the cluster, empty now."""
    with cluster.admin() as client:
        client.flushall()
    return cluster.url


async def test_the_command_line_reads_a_cluster(asynq: AsynqCli, scene: Scene, cluster: ClusterSetup) -> None:
    infos = await scene.inspector.queue_infos()

    by_state, by_queue, _, state = await asynq.tables("stats")
    assert by_state == [{name: str(sum(getattr(info, name) for info in infos)) for name in STATES}]
    assert sorted(by_queue[0].values()) == sorted(str(info.size) for info in infos)
    assert state == [{"State": "OK", "Known Nodes": "6", "Cluster Size": "3"}]

    with cluster.admin() as client:
        slots = {info.queue: str(client.keyslot(f"{{{info.queue}}}")) for info in infos}
    assert {row["Queue"]: row["Cluster KeySlot"] for row in await asynq.table("queue", "ls")} == slots
    for name, (queue, _, count) in IN_STATE.items():
        group = [f"--group={GROUP}"] if name == "aggregating" else []
        rows = await asynq.table("task", "ls", f"--queue={queue}", f"--state={name}", "--size=100", *group)
        tasks = await scene.inspector.tasks(queue, TaskState(name), size=100, group=GROUP if group else None)
        assert sorted(row["ID"] for row in rows) == sorted(task.id for task in tasks)
        assert len(rows) == count
    assert len(await asynq.table("server", "ls")) == 1
    assert len(await asynq.table("cron", "ls")) == 4


async def test_the_command_line_steers_a_cluster(asynq: AsynqCli, scene: Scene) -> None:
    await asynq("task", "run", "--queue=default", "--id=later_1")
    assert "3 tasks archived" in await asynq("task", "archiveall", "--queue=default", "--state=retry")
    await asynq("queue", "rm", "--force", "held")
    await asynq("task", "cancel", "runs_1")

    await wait_until(lambda: scene.stopped == ["runs_1"])
    assert (await scene.info("default")).archived == 6
    assert await scene.inspector.queues() == ["default", "low"]

    async def ran() -> bool:
        return (await scene.info("default")).pending == 0

    await wait_until(ran)


@pytest.mark.browser
async def test_asynqmon_shows_a_cluster(asynqmon: Asynqmon, web: Window, scene: Scene) -> None:
    infos = {info.queue: info for info in await scene.inspector.queue_infos()}
    page = await web.go("/")
    rows = {row["Queue"]: row["Size"] for row in await table(page, "queues overview table")}
    assert rows == {name: str(info.size) for name, info in infos.items()}

    page = await web.go("/redis")
    assert {row["Queue"] for row in await table(page, "queue location table")} == set(infos)
    await asynqmon.ask("POST", "queues", "low:pause")
    assert (await scene.info("low")).paused
