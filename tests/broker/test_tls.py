"""`rediss://`: everything over TLS, with the server's certificate checked."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.servers import require
from support.topologies import free_ports
from support.waiting import wait_until_sync
from taskflow import BrokerUnavailable, Client, SyncClient, TaskFlow, WorkerOptions

pytestmark = pytest.mark.stock_redis


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key.pem and cert.pem, made for the loopback address."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    command = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def port(certificate: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a server that speaks TLS alone."""
    (port,) = free_ports(1)
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert]
    tls = ["--tls-port", str(port), "--port", "0", *files]
    plain = ["--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path), "--tls-auth-clients", "no"]
    process = subprocess.Popen([require("redis-server"), *tls, *plain], stdout=subprocess.DEVNULL)
    try:
        wait_until_sync(lambda: _listens(port), 10)
        yield port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_task_goes_its_way_over_tls(port: int, certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate / 'cert.pem'}"
    app = TaskFlow(url)

    @app.task("double")
    async def double(number: int) -> int:
        return 2 * number

    worker = app.worker(WorkerOptions(log_tasks=False))
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(worker.ready.wait(), 10)
    info = await app.client.enqueue("double", {"number": 21}, retention=timedelta(minutes=1))
    large = await app.client.enqueue("unserved", b"x" * 1_000_000, queue="other")
    with await asyncio.to_thread(SyncClient, url) as blocking:
        second = await asyncio.to_thread(blocking.enqueue, "double", {"number": 4}, retention=timedelta(minutes=1))

    assert await app.client.result(info, timeout=10) == 42
    assert await app.client.result(second, timeout=10) == 8
    assert large.queue == "other"
    worker.stop()
    await running
    await app.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(port: int) -> None:
    async with Client(f"rediss://127.0.0.1:{port}/0") as client:
        with pytest.raises(BrokerUnavailable, match="certificate"):
            await client.enqueue("double", {"number": 1})
