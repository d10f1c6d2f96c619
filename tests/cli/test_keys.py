"""`taskflow keys`: keys are shown once, and stored as digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Run
from taskflow.api.keys import digest_of, read_keys

NEW = ("keys", "new", "--name", "shop", "--scope", "write", "--scope", "read", "--queue", "shop-*")


def test_a_new_key_is_printed_once_and_its_digest_is_added_to_the_file(run_inside: Run, here: Path) -> None:
    made = run_inside(*NEW, "--file", "keys.yaml")
    again = run_inside(*NEW, "--file", "keys.yaml")

    (record,) = read_keys(here / "keys.yaml")
    key = made.stdout.strip()
    assert record.digest.get_secret_value() == digest_of(key).removeprefix("sha256:")
    assert (record.name, record.scopes, record.queues) == ("shop", ("write", "read"), ("shop-*",))
    assert key not in (here / "keys.yaml").read_text() + made.stderr
    assert again.returncode == 1
    assert "two keys are called 'shop'" in again.stderr


def test_without_a_file_the_record_is_printed(run_inside: Run, here: Path) -> None:
    key, line = run_inside(*NEW).stdout.splitlines()
    (here / "stored").write_text(line)

    assert read_keys(here / "stored")[0].digest_bytes.hex() == digest_of(key).removeprefix("sha256:")


def test_keys_are_listed_without_secrets(run_inside: Run) -> None:
    environ = {"TASKFLOW_API_AUTH_KEY_FILE": "keys.yaml"}
    run_inside(*NEW, "--file", "keys.yaml")
    key = run_inside("keys", "new", "--name", "ops", "--scope", "admin", environ=environ).stdout.strip()

    listed = run_inside("keys", "ls", "--json", environ=environ)
    table = run_inside("keys", "ls", environ=environ).stdout

    assert listed.json == [
        {"name": "shop", "scopes": ["write", "read"], "queues": ["shop-*"]},
        {"name": "ops", "scopes": ["admin"], "queues": []},
    ]
    assert "ops" in table
    assert not any(secret in listed.stdout + table for secret in (key, digest_of(key).removeprefix("sha256:")))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--name", "a b", "--scope", "read"), "--name"), (("--name", "a", "--scope", "all"), "--scope")],
)
def test_what_cannot_be_a_key_is_refused(run_inside: Run, arguments: tuple[str, ...], named: str) -> None:
    done = run_inside("keys", "new", *arguments)

    assert done.returncode == 1
    assert named in done.stderr
    assert not done.stdout
