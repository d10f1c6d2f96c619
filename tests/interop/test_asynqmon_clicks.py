"""asynqmon's buttons in a real browser steer a TaskFlow system, and our inspector agrees."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page

from interop.scene import GROUP, PENDING, Scene
from support.browser import Window
from support.waiting import wait_until
from taskflow import TaskNotFound, TaskState

pytestmark = [pytest.mark.go, pytest.mark.browser, pytest.mark.usefixtures("consistent")]


def row_of(page: Page, text: str) -> Locator:
    """The line of a table that begins with a queue's name or a task's id."""
    return page.locator("tbody tr").filter(has=page.locator("th").get_by_text(text, exact=True))


async def press(row: Locator, name: str) -> None:
    """Press one of a line's buttons, which show when the mouse comes over its last cell.

    A button on which the mouse rests has its title elsewhere.
    """
    await row.page.mouse.move(0, 0)
    await row.locator("td").last.hover(position={"x": 2, "y": 2})
    await row.get_by_title(name).click()


async def from_menu(page: Page, name: str) -> None:
    """Choose what is done with all tasks."""
    await page.get_by_role("button", name="actions").click()
    await page.get_by_role("menuitem", name=name).click()


async def state_of(scene: Scene, task_id: str, queue: str = "default") -> str | None:
    try:
        return (await scene.inspector.task(task_id, queue)).state.value
    except TaskNotFound:
        return None


async def becomes(scene: Scene, task_id: str, state: str | None) -> None:
    """Wait until our inspector finds the task in a state; None: until it is gone."""

    async def reached() -> bool:
        return await state_of(scene, task_id) == state

    await wait_until(reached)


async def test_queues_are_paused_resumed_and_deleted(web: Window, scene: Scene) -> None:
    page = await web.go("/")
    low, held = row_of(page, "low"), row_of(page, "held")

    await press(low, "Pause")
    await low.get_by_text("paused").wait_for()
    assert (await scene.info("low")).paused
    await press(low, "Resume")
    await low.get_by_text("run", exact=True).wait_for()
    assert not (await scene.info("low")).paused

    await press(held, "Delete")
    await page.get_by_text("Queue is not empty").wait_for()
    await page.get_by_role("button", name="OK").click()
    await scene.inspector.delete_all("held", TaskState.PENDING)
    page = await web.go("/")
    await press(held, "Delete")
    await page.get_by_role("button", name="Delete", exact=True).last.click()
    await held.wait_for(state="detached")
    assert await scene.inspector.queues() == ["default", "low"]


async def test_single_tasks_are_run_archived_and_deleted(web: Window, scene: Scene) -> None:
    page = await web.go("/queues/default?status=scheduled")
    for task_id, button, state in (
        ("later_1", "Run", "pending"),
        ("later_2", "Archive", "archived"),
        ("later_3", "Delete", None),
    ):
        await press(row_of(page, task_id), button)
        await becomes(scene, task_id, state)


async def test_chosen_tasks_are_run(web: Window, scene: Scene) -> None:
    page = await web.go("/queues/default?status=retry")
    for task_id in ("retry_1", "retry_3"):
        await row_of(page, task_id).get_by_role("checkbox").check()

    await page.get_by_title("Run").click()

    for task_id in ("retry_1", "retry_3"):
        await becomes(scene, task_id, "pending")
    assert await state_of(scene, "retry_2") == "retry"


async def test_all_tasks_are_archived_and_then_deleted(web: Window, scene: Scene) -> None:
    page = await web.go("/queues/low?status=pending")
    await row_of(page, "waits_00").wait_for()
    await from_menu(page, "Archive All")
    await page.get_by_text("No pending tasks at this time.").wait_for()
    assert (await scene.info("low")).archived == PENDING + 1

    page = await web.go("/queues/low?status=archived")
    await page.get_by_text(f"1-20 of {PENDING + 1}").wait_for()
    await from_menu(page, "Delete All")
    await page.get_by_text("No archived tasks at this time.").wait_for()
    assert (await scene.info("low")).size == 1


async def test_all_tasks_of_a_group_are_run(web: Window, scene: Scene) -> None:
    page = await web.go("/queues/default?status=aggregating")
    await page.get_by_label("Select group").click()
    await page.get_by_role("option").filter(has_text=GROUP).click()
    await row_of(page, "member_0").wait_for()

    await from_menu(page, "Run All")

    for number in range(3):
        await becomes(scene, f"member_{number}", "pending")


async def test_a_running_task_is_stopped(web: Window, scene: Scene) -> None:
    page = await web.go("/queues/default?status=active")

    await press(row_of(page, "runs_1"), "Cancel")

    await becomes(scene, "runs_1", "retry")
    assert scene.stopped == ["runs_1"]
