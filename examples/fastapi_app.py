"""A FastAPI application that enqueues: one client for the whole application, opened and closed with its lifespan.

uvicorn fastapi_app:web         the web application
taskflow worker fastapi_app:app the worker
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException

from taskflow import ResultTimeout, TaskFlow, TaskNotFound
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()


@app.task("text:count")
async def count_words(text: str) -> dict[str, int]:
    """Count words."""
    return {"words": len(text.split())}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the client with the application. It connects when it is first used, and calls at one time share round trips."""
    yield
    await app.close()


web = FastAPI(lifespan=lifespan)


@web.post("/texts", status_code=202)
async def submit(text: str) -> dict[str, str]:
    """Take a text, answer at once."""
    task = await count_words.with_options(retention=timedelta(minutes=5)).enqueue(text)
    return {"task_id": task.id}


@web.get("/texts/{task_id}")
async def result(task_id: str) -> Any:
    """Wait for the result of a text, for ten seconds at most."""
    try:
        return await app.client.result(task_id, timeout=10)
    except TaskNotFound as error:
        raise HTTPException(404, str(error)) from error
    except ResultTimeout as error:
        raise HTTPException(503, str(error)) from error


async def run() -> None:
    """Play a browser and a worker."""
    worker = app.worker()
    working = asyncio.create_task(worker.run())
    await worker.ready.wait()

    transport = httpx.ASGITransport(web)
    async with (
        web.router.lifespan_context(web),
        httpx.AsyncClient(transport=transport, base_url="http://web") as browser,
    ):
        accepted = await browser.post("/texts", params={"text": "to be or not to be"})
        print("accepted:", accepted.status_code)
        answer = await browser.get(f"/texts/{accepted.json()['task_id']}")
        print("result:", answer.status_code, answer.json())
        missing = await browser.get("/texts/unknown")
        print("missing:", missing.status_code)

    worker.stop()
    await working


def main() -> None:
    """Run the example against TASKFLOW_REDIS_URL, else against a server of its own."""
    with ExitStack() as stack:
        if "TASKFLOW_REDIS_URL" not in os.environ:
            os.environ["TASKFLOW_REDIS_URL"] = stack.enter_context(EmbeddedServer()).url
        asyncio.run(run())


if __name__ == "__main__":
    main()
