"""Settings: where they come from, and what is said of those that cannot be used."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from taskflow import Unique, WorkerOptions
from taskflow.config import Settings, describe, environment_name, load_settings, mask_url, setting_names
from taskflow.errors import ConfigError
from taskflow.scheduler import entries_of


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str = "taskflow.yaml") -> Path:
    file = Path(path)
    file.write_text(text)
    return file


def problems_of(
    text: str = "", environ: dict[str, str] | None = None, overrides: dict[str, object] | None = None
) -> list[str]:
    """The lines of the error that these sources give."""
    write(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(environ=environ or {}, overrides=overrides)
    headline, *lines = str(caught.value).split("\n  ")
    assert headline == "the settings cannot be used:"
    return lines


def test_defaults_hold_where_nothing_is_said() -> None:
    settings = load_settings(environ={})

    assert settings == Settings()
    assert settings.server.http.port == 8080
    assert settings.server.http.body_limit == 1024 * 1024
    assert settings.server.worker.queues == {"critical": 6, "default": 3, "low": 1}
    assert settings.server.worker.lease == timedelta(seconds=30)
    assert settings.redis.effective_url == "redis://127.0.0.1:6379/0"


def test_each_source_is_stronger_than_the_one_before() -> None:
    write("server: {http: {host: a, port: 1}, worker: {concurrency: 1}}\nlogging: {level: WARN}\n")
    environ = {"TASKFLOW_SERVER_HTTP_PORT": "2", "TASKFLOW_SERVER_WORKER_CONCURRENCY": "2"}

    settings = load_settings(environ=environ, overrides={"server.worker.concurrency": 3, "app.name": None})

    assert settings.server.http.host == "a"
    assert settings.server.http.port == 2
    assert settings.server.worker.concurrency == 3
    sources = {each.name: (each.value, each.source) for each in describe(settings)}
    assert sources["logging.level"] == ("warning", "taskflow.yaml")
    assert sources["server.http.host"] == ("a", "taskflow.yaml")
    assert sources["server.http.port"] == ("2", "TASKFLOW_SERVER_HTTP_PORT")
    assert sources["server.worker.concurrency"] == ("3", "option")
    assert sources["app.name"] == ("taskflow", "default")


def test_the_file_may_be_named(tmp_path: Path) -> None:
    by_variable = write("app: {name: variable}", "a.yaml")
    by_argument = write("app: {name: argument}", "b.yaml")
    environ = {"TASKFLOW_CONFIG": str(by_variable)}

    assert load_settings(environ=environ).app.name == "variable"
    assert load_settings(by_argument, environ).app.name == "argument"
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "missing.yaml", {})


@pytest.mark.parametrize("text", ["", "# nothing", "server:", "server: {http: }", "redis: {url: }"])
def test_a_key_without_a_value_counts_as_not_given(text: str) -> None:
    write(text)

    assert load_settings(environ={}) == Settings()


@pytest.mark.parametrize(
    "variable",
    ["TASKFLOW_SERVER_HTTP_READ_TIMEOUT", "TASKFLOW_SERVER__HTTP__READ_TIMEOUT", "TASKFLOW_SERVER__HTTP_READ_TIMEOUT"],
)
def test_environment_names_have_single_or_double_underscores(variable: str) -> None:
    assert load_settings(environ={variable: "1m30s"}).server.http.read_timeout == timedelta(seconds=90)


def test_every_setting_has_an_environment_name_of_its_own() -> None:
    assert len({environment_name(name) for name in setting_names()}) == len(setting_names())


def test_every_setting_as_it_is_described_can_be_set_by_the_environment() -> None:
    environ = {environment_name(name): value for name, value, _ in describe(Settings()) if value}

    settings = load_settings(environ=environ)

    assert [(each.name, each.value) for each in describe(settings)] == [
        (each.name, each.value) for each in describe(Settings())
    ]
    assert {each.source for each in describe(settings) if each.value} == set(environ)


@pytest.mark.parametrize("text", ["high=5,low=1", ' {"high": 5, "low": 1}', "high = 5, low"])
def test_weights_are_read_from_text(text: str) -> None:
    settings = load_settings(environ={"TASKFLOW_SERVER_WORKER_QUEUES": text})

    assert settings.server.worker.queues == {"high": 5, "low": 1}


def test_weights_replace_the_weaker_sources_as_a_whole() -> None:
    write("server: {worker: {queues: {mail: 2}}}")

    assert load_settings(environ={}).server.worker.queues == {"mail": 2}


@pytest.mark.parametrize("text", ["go:*,email:send", '["go:*", "email:send"]', " go:* , email:send "])
def test_lists_are_read_from_text(text: str) -> None:
    assert load_settings(environ={"TASKFLOW_API_ALLOW_TYPES": text}).api.allow_types == ("go:*", "email:send")


@pytest.mark.parametrize(
    ("text", "size"), [("2MiB", 2 * 1024**2), ("2 MiB", 2 * 1024**2), ("500kB", 500_000), ("7", 7)]
)
def test_sizes_are_read_from_text(text: str, size: int) -> None:
    assert load_settings(environ={"TASKFLOW_SERVER_HTTP_BODY_LIMIT": text}).server.http.body_limit == size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server: {http: {prot: 1}}", "server.http.prot is not a setting; did you mean server.http.port?"),
        ("server: {htpp: {port: 1}}", "server.htpp is not a setting; did you mean server.http?"),
        ("concurrency: 5", "concurrency is not a setting; did you mean server.worker.concurrency?"),
        ("zzz: 5", "zzz is not a setting"),
        ("true: 5", "True is not a setting"),
        ("server: 5", "server must hold settings: http, worker"),
        ("[1]", "the file must hold settings: app, server, redis, queues, tasks, api, dashboard, logging, progress, schedules, webhooks, http_targets, grpc_services"),
        ("server: {http: {port: x}}", "server.http.port: must be a valid integer, unable to parse string as an integer (got 'x')"),
        ("server: {http: {port: 65536}}", "server.http.port: must be less than or equal to 65535 (got 65536)"),
        ("server: {worker: {lease: 30}}", 'server.worker.lease: must be a duration with its unit, such as "30s" (got 30)'),
        ("tasks: {timeout: 0s}", "tasks.timeout: must be more than 0s (got '0s')"),
        ("server: {worker: {queues: {a b: 1}}}", "server.worker.queues: must hold no braces, spaces or control characters: 'a b' (got {'a b': 1})"),
        ("server: {worker: {queues: {a: 0}}}", "server.worker.queues.a: must be greater than or equal to 1 (got 0)"),
        ("schedules: {a: {spec: '@daily', type: t, spce: 3}}", "schedules.a.spce: is not a setting (got 3)"),
        ("schedules: {a: {spec: '@daily'}}", "schedules.a.type: is missing (got {'spec': '@daily'})"),
        ("schedules: {a: {spec: '@daily', type: t, jitter: 5}}", 'schedules.a.jitter: must be a duration with its unit, such as "30s" (got 5)'),
        ("redis: {addr: localhost}", "redis.addr: must be host:port, such as 127.0.0.1:6379, or the path of a unix socket (got 'localhost')"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_file(text: str, problem: str) -> None:
    assert problems_of(text) == [f"taskflow.yaml: {problem}"]


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"TASKFLOW_REDIS_URI": "x"}, "TASKFLOW_REDIS_URI is not a setting; did you mean TASKFLOW_REDIS_URL?"),
        ({"TASKFLOW_SERVER_HTTP_PORT": "x"}, "TASKFLOW_SERVER_HTTP_PORT: must be a valid integer, unable to parse string as an integer (got 'x')"),
        ({"TASKFLOW_SERVER_WORKER_QUEUES": "a=x"}, "TASKFLOW_SERVER_WORKER_QUEUES: must be a valid integer, unable to parse string as an integer (got 'x')"),
        ({"TASKFLOW_TASKS_RETENTION": "soon"}, "TASKFLOW_TASKS_RETENTION: 'soon' is not a duration; write numbers with units, such as \"30s\", \"1h30m\" or \"500ms\" (got 'soon')"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_variable(environ: dict[str, str], problem: str) -> None:
    assert problems_of(environ=environ) == [problem]


def test_an_unsafe_combination_is_refused() -> None:
    [problem] = problems_of(environ={"TASKFLOW_SERVER_WORKER_LEASE": "8s"})

    assert problem.startswith("server.worker: heartbeat (5s) must be at most half of lease (8s)")


def test_all_problems_are_in_one_message() -> None:
    problems = problems_of(
        "server: {http: {prot: 1, port: x}}\nnoise: 1",
        {"TASKFLOW_REDIS_URI": "x", "TASKFLOW_REDIS_DB": "-1"},
        {"server.worker.concurency": 1, "tasks.max_retries": -1},
    )

    assert len(problems) == 7
    assert "option server.worker.concurency is not a setting; did you mean server.worker.concurrency?" in problems
    assert "option: tasks.max_retries: must be greater than or equal to 0 (got -1)" in problems


def test_text_that_is_not_yaml_is_said_with_its_line() -> None:
    [problem] = problems_of("redis:\n  password: [hunter2\n")

    assert problem.startswith("taskflow.yaml: is not YAML:")
    assert "line 3" in problem
    assert "hunter2" not in problem


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {
        "TASKFLOW_TEST_REQUIRE": "1",
        "TASKFLOW_REDIS_SERVER": "/bin/redis",
        "TASKFLOWER": "x",
        "TASKFLOW_REDIS_DB": "",
        "PATH": "/bin",
    }

    assert load_settings(environ=environ) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TASKFLOW_PORT", "tcp://10.0.0.1:8080"),
        ("TASKFLOW_SERVICE_HOST", "10.0.0.1"),
        ("TASKFLOW_SERVICE_PORT_HTTP", "8080"),
        ("TASKFLOW_REDIS_SERVICE_PORT", "6379"),
        ("TASKFLOW_REDIS_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("TASKFLOW_REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
    ],
)
def test_variables_that_kubernetes_sets_for_services_are_left_alone(variable: str, value: str) -> None:
    assert load_settings(environ={variable: value}) == Settings()


@pytest.mark.parametrize(
    ("redis", "url"),
    [
        ({"addr": "db:6380", "db": "2"}, "redis://db:6380/2"),
        ({"addr": "db:6380", "tls": "true"}, "rediss://db:6380/0"),
        ({"addr": "[::1]:6379"}, "redis://[::1]:6379/0"),
        ({"password": "p@/ss"}, "redis://:p%40%2Fss@127.0.0.1:6379/0"),
        ({"username": "u", "password": "p"}, "redis://u:p@127.0.0.1:6379/0"),
        ({"addr": "/run/redis.sock", "password": "p", "db": "1"}, "unix://:p@/run/redis.sock?db=1"),
        ({"url": "redis://h/3", "addr": "db:1", "password": "p"}, "redis://:p@h/3"),
        ({"url": "redis://u:own@h/3", "password": "p"}, "redis://u:own@h/3"),
        ({"url": "redis+sentinel://h1:1,h2:2/main", "password": "p"}, "redis+sentinel://:p@h1:1,h2:2/main"),
        ({"url": "unix:///run/redis.sock?db=0", "password": "p"}, "unix://:p@/run/redis.sock?db=0"),
    ],
)
def test_the_redis_url_is_put_together(redis: dict[str, str], url: str) -> None:
    environ = {f"TASKFLOW_REDIS_{key.upper()}": value for key, value in redis.items()}

    assert load_settings(environ=environ).redis.effective_url == url


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    environ = {
        "TASKFLOW_REDIS_URL": "redis://app:hunter2@db:6379/0?password=hunter2",
        "TASKFLOW_REDIS_PASSWORD": "hunter2",
    }

    settings = load_settings(environ=environ)

    shown = {each.name: each.value for each in describe(settings)}
    assert shown["redis.password"] == "***"
    assert shown["redis.url"] == "redis://app:***@db:6379/0?password=***"
    for text in (repr(settings), str(settings), repr(settings.redis), f"{settings.redis}", str(shown)):
        assert "hunter2" not in text
    assert settings.redis.password.get_secret_value() == "hunter2"


def test_errors_show_no_secrets() -> None:
    write("redis: {url: 'http://u:hunter2@h', password: {hunter2: 1}}")

    with pytest.raises(ConfigError) as caught:
        load_settings(environ={})

    assert "redis.url: must start with one of redis://" in str(caught.value)
    assert "redis.password: must be a valid string" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(environ={}).server.http.port = 1


@pytest.mark.parametrize(("concurrency", "threads", "effective"), [(100, 0, 32), (10, 0, 10), (10, 64, 64)])
def test_threads_follow_the_concurrency_up_to_a_limit(concurrency: int, threads: int, effective: int) -> None:
    overrides = {"server.worker.concurrency": concurrency, "server.worker.threads": threads}

    assert WorkerOptions.of(load_settings(environ={}, overrides=overrides)).thread_count == effective


def test_queues_that_handlers_name_are_served_unless_queues_were_chosen() -> None:
    left_out = WorkerOptions.of(load_settings(environ={"TASKFLOW_QUEUES_DEFAULT": "main"}), named=["high", "low"])
    chosen = WorkerOptions.of(load_settings(environ={"TASKFLOW_SERVER_WORKER_QUEUES": "low=1"}), named=["high"])

    assert left_out.queues == {"critical": 6, "default": 3, "low": 1, "main": 3, "high": 3}
    assert chosen.queues == {"low": 1}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p@ss@h/0", "redis://u:***@h/0"),
        ("at redis://u:p@h and rediss://u:q@h", "at redis://u:***@h and rediss://u:***@h"),
        ("https://h/?a=1&api_key=k&token=t#x", "https://h/?a=1&api_key=***&token=***#x"),
        ("http://h:80/users/ada@example.org", "http://h:80/users/ada@example.org"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, masked: str) -> None:
    assert mask_url(text) == masked


def test_periodic_tasks_come_from_the_file_or_as_json_from_the_environment(tmp_path: Path) -> None:
    text = "schedules: {nightly: {spec: '0 3 * * *', type: report, timezone: Europe/Berlin, payload: {days: 1}, jitter: 30s}}"
    (tmp_path / "taskflow.yaml").write_text(text)
    nightly = load_settings(tmp_path / "taskflow.yaml", environ={}).schedules["nightly"]
    assert (nightly.payload, nightly.jitter, nightly.queue) == ({"days": 1}, timedelta(seconds=30), None)

    text = "schedules: {a: {spec: '@daily', type: t, unique: 1h}, b: {spec: '@daily', type: t, payload: {a: 1, b: 2}, unique: "
    text += "{ttl: 1h, fields: 'a, b', until: started, on_conflict: replace}}}"
    (tmp_path / "taskflow.yaml").write_text(text)
    entries = {entry.id: entry for entry in entries_of(load_settings(tmp_path / "taskflow.yaml", environ={}))}
    assert entries["a"].unique == Unique(timedelta(hours=1))
    chosen = Unique(timedelta(hours=1), fields=("a", "b"), until="started", on_conflict="replace")
    assert entries["b"].unique == chosen

    settings = load_settings(environ={"TASKFLOW_SCHEDULES": '{"tick": {"spec": "@every 5s", "type": "tick"}}'})
    assert settings.schedules["tick"].missed == "skip"
    assert next(setting.value for setting in describe(settings) if setting.name == "schedules") == "tick"


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("spec: 61 * * * *, type: t", "minute"),
        ("spec: '@daily', type: t, timezone: Mars/Olympus", "time zone"),
        ("spec: '@daily', type: ' '", "type"),
        ("spec: '@daily', type: t, unique: 10ms", "unique"),
        ("spec: '@daily', type: t, unique: {key: a}", "unique.ttl"),
        ("spec: '@daily', type: t, unique: {ttl: 1h, key: a, fields: b}", "not both"),
        ("spec: '@daily', type: t, unique: {ttl: 1h, until: ended}", "unique.until"),
        ("spec: '@daily', type: t, unique: {ttl: 1h, nutil: done}", "unique.nutil"),
        ("spec: '@daily', type: t, queue: a b", "queue"),
        ("spec: '@daily', type: t, missed: some", "missed"),
    ],
)
def test_a_periodic_task_that_cannot_be_used_is_refused_with_its_name(
    tmp_path: Path, section: str, reason: str
) -> None:
    (tmp_path / "taskflow.yaml").write_text(f"schedules: {{nightly: {{{section}}}}}")

    with pytest.raises(ConfigError, match=rf"schedules\.nightly.*{reason}"):
        load_settings(tmp_path / "taskflow.yaml", environ={})


def test_debug_lowers_the_level_that_is_not_set_and_names_become_labels() -> None:
    assert load_settings(environ={}).log_level == "info"
    assert load_settings(environ={}).app.labels == {}
    debug = load_settings(environ={"TASKFLOW_APP_DEBUG": "true", "TASKFLOW_APP_NAME": "shop"})
    assert (debug.log_level, debug.app.labels) == ("debug", {"app": "shop"})
    chosen = load_settings(environ={"TASKFLOW_APP_DEBUG": "true"}, overrides={"logging.level": "warning"})
    assert chosen.log_level == "warning"


@pytest.mark.parametrize(
    "text",
    [
        'http_targets: {billing: {url: "http://billing/", headers: {Authorization: "s3cret\\n"}}}',
        'webhooks: {allow_hosts: ["*"], secret: s3cret}',
    ],
)
def test_a_secret_that_cannot_be_used_is_not_repeated(text: str) -> None:
    assert "s3cret" not in "".join(problems_of(text))


def test_the_headers_of_targets_are_not_shown() -> None:
    write('http_targets: {billing: {url: "http://billing/", headers: {Authorization: s3cret}}}')

    settings = load_settings(environ={})

    assert {each.name: each.value for each in describe(settings)}["http_targets"] == "billing"
    assert "s3cret" not in repr(settings)
