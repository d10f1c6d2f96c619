"""docs/http-api.md: each of its curls works as it stands, one after another, beside what the page says to start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cli.conftest import Start
from support.page import Shown, blocks, differences

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
_PORT = 8080
"""The port on the page."""
_TIMED_OUT = 28
"""How curl ends a stream after its `--max-time`."""


_SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
ANY_PORT = {"TASKFLOW_SERVER_WORKER_HEALTH_PORT": "0"}


def run(shown: list[Shown], port: int, directory: Path) -> list[tuple[int, list[str], str]]:
    """Run blocks in one shell; return of each how it ended, the statuses of its requests, and what it printed.

    What is sent to the page's port goes to another one.
    """
    (directory / ".curlrc").write_text(
        f'connect-to = "127.0.0.1:{_PORT}:127.0.0.1:{port}"\nwrite-out = "%{{stderr}}%{{http_code}}\\n"\n'
    )
    lines = [
        f"{{\n{each.commands}\n}} >{index}.out 2>{index}.err; echo $? >{index}.rc" for index, each in enumerate(shown)
    ]
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "CURL_HOME": str(directory), "LC_ALL": "C.UTF-8"}
    script = directory / "page.sh"
    script.write_text("\n".join(lines))
    subprocess.run(["sh", str(script)], cwd=directory, env=environ, check=True, timeout=100)  # noqa: S607 - a standard program

    def read(index: int, kind: str) -> str:
        return (directory / f"{index}.{kind}").read_text()

    return [(int(read(index, "rc")), read(index, "err").split(), read(index, "out")) for index in range(len(shown))]


def test_every_curl_of_the_page_is_answered_as_it_says(
    start: Start, tmp_path: Path, require: Callable[[str], str]
) -> None:
    require("curl")
    dev = start("dev", "--port", "0", "--json", environ=ANY_PORT | {"TASKFLOW_API_STREAMS_PER_CLIENT": "1"})
    port = urlsplit(json.loads(dev.wait_for_line('"api"'))["api"]).port
    shown = blocks(PAGE)
    assert port

    wrong = []
    for each, (code, statuses, output) in zip(shown, run(shown, port, tmp_path), strict=True):
        refused = statuses[-1:] != [each.status] if each.status else any(status >= "400" for status in statuses)
        if code not in {0, _TIMED_OUT} or refused:
            wrong.append(f"{each.commands}ended with {code}, answered {statuses} instead of {each.status}: {output}")
        elif each.status and (problems := differences(each, output)):
            wrong.append(f"{each.commands}{problems}")

    assert not wrong, "\n\n".join(wrong)


def test_with_a_key_the_curls_work_once_the_shell_knows_it(
    start: Start, tmp_path: Path, require: Callable[[str], str]
) -> None:
    require("curl")
    section = PAGE.read_text().partition("\n## Keys\n")[2].partition("\n## ")[0]
    make_and_serve, *_ = _SHELL.findall(section)
    make, serve = make_and_serve.splitlines()
    settings, _, command = serve.partition(" ")
    (function,) = (each.commands for each in blocks(PAGE) if each.commands in section)
    curl = next(each for each in blocks(PAGE) if each.status == "201")
    key = f'{make}\necho "$KEY"'.replace("taskflow", f"{sys.executable} -m taskflow")
    made = subprocess.run(["sh", "-c", key], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)  # noqa: S607
    assert command == "taskflow dev"
    name, _, file = settings.partition("=")
    environ = ANY_PORT | {name: str(tmp_path / file)}
    port = urlsplit(
        json.loads(start("dev", "--port", "0", "--json", environ=environ).wait_for_line('"api"'))["api"]
    ).port
    assert port

    without, with_key = run(
        [curl, curl._replace(commands=f"KEY={made.stdout.strip()}\n{function}{curl.commands}")], port, tmp_path
    )

    assert without[1] == ["401"]
    assert with_key[1] == ["201"], with_key
    assert not differences(curl, with_key[2])
