"""The shape of the settings, with defaults and units. `Settings(...)` itself reads neither files nor environment."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from taskflow.config.api import Api
from taskflow.config.dashboard import Dashboard
from taskflow.config.section import Section
from taskflow.config.targets import GrpcServices, HttpTargets
from taskflow.config.values import (
    Count,
    Duration,
    LogFormat,
    LogLevel,
    Names,
    Natural,
    Port,
    PositiveDuration,
    Size,
    Weights,
    queue_name,
    read_json,
)
from taskflow.config.webhooks import Webhooks
from taskflow.cron import Missed, parsed
from taskflow.durations import format_duration
from taskflow.task import MAX_VERSION, TaskOptions, check_task_type
from taskflow.unique import OnConflict, Unique, Until

MASK = "***"

_URL_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:/@\[\]]+):\d{1,5}|/\S+")
_URL_PASSWORD = re.compile(r"(://[^\s:/?#\"'<>@]*):[^\s/?#\"'<>]*@")
_URL_SECRET = re.compile(r"([?&](?:password|passwd|secret|(?:access_)?token|api_?key)=)[^&\s#\"'<>]+", re.IGNORECASE)


def mask_url(text: str) -> str:
    """Return the text with `***` for the passwords of all URLs in it, and for secrets in their query strings."""
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    if "=" in text:
        text = _URL_SECRET.sub(rf"\1{MASK}", text)
    return text


class App(Section):
    """`app`: which installation this is. `name` and `environment`, where they are set, stand in each log line of JSON.

    `version` is what the program calls its version, as the catalog of task types shows it. `debug` makes `logging.level` debug, unless
    that is set.
    """

    name: str = "taskflow"
    environment: str = "development"
    version: Annotated[str, Field(max_length=MAX_VERSION)] = ""
    debug: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """What is set, as it stands in log lines."""
        known = {"name": ("app", self.name), "environment": ("environment", self.environment)}
        return dict(label for name, label in known.items() if name in self.model_fields_set)


class Http(Section):
    """`server.http`: the API server.

    `port` 0 takes a free one. `read_timeout` bounds the time to read a request. `body_limit` is the largest body in bytes,
    `batch_limit` the most tasks in one batch. `request_log` writes one log line per request. Behind a proxy: `trusted_proxies` are the
    addresses or networks whose X-Forwarded-* headers are believed, `root_path` is the path that the proxy takes away. `workers`:
    how many processes serve the port. `hosts`: the names to which a server without keys answers, besides addresses and `localhost`.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    read_timeout: PositiveDuration = timedelta(seconds=10)
    body_limit: Size = ByteSize(1024 * 1024)
    batch_limit: Count = 10_000
    request_log: bool = True
    workers: Count = 1
    hosts: Names = ()
    trusted_proxies: Names = ()
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            ipaddress.ip_network(name, strict=False)
        return names


class Health(Section):
    """`server.worker.health`: the worker's own port for health, readiness and metrics. `port` 0 takes a free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8082


class Groups(Section):
    """`server.worker.groups`: when the tasks of a group are made into one.

    `grace_period`: when no task has come into it for so long; `max_delay`: or when its oldest task has waited so long;
    `max_size`: or when it has so many tasks, at most 5,000. 0 means never.
    """

    grace_period: PositiveDuration = timedelta(seconds=60)
    max_delay: Duration = timedelta(0)
    max_size: Annotated[int, Field(ge=0, le=5000)] = 0


class WorkerSettings(Section):
    """`server.worker`: one worker server.

    `concurrency`: tasks at a time, per process. `queues`: names to weights; with weights 6 and 3 the first queue gets two
    thirds of the slots while both have tasks; `tenant-*` means all queues that match, as they come and go; `strict_priority` empties a queue of higher weight before it looks at the
    next. `shutdown_timeout`: how long running tasks may take to end after the first signal. `cleanup_timeout`: how long a
    handler may go on after it was cancelled, before it is cancelled again and again. `processes`: worker processes.
    `threads`: for `def` handlers; 0 means as many as `concurrency`, at most 32. `pool_size`: processes for
    `executor="process"` handlers; 0 means one for each core, at most `concurrency`. `max_tasks` and `max_memory`: when a process
    has taken so many tasks, or holds so much memory, a fresh one takes its place once its tasks have ended; 0 means never.
    `lease`: for how long a task belongs to its worker without a sign of life; `heartbeat` extends it. `recover_grace`: how long after the lease a task is taken to be
    lost. `recover_interval`: time between sweeps that take over lost tasks.
    """

    concurrency: Count = 100
    queues: Weights = Field(default={"critical": 6, "default": 3, "low": 1})
    strict_priority: bool = False
    shutdown_timeout: Duration = timedelta(seconds=8)
    cleanup_timeout: Duration = timedelta(seconds=10)
    processes: Count = 1
    threads: Natural = 0
    pool_size: Natural = 0
    max_tasks: Natural = 0
    max_memory: Annotated[ByteSize, Field(ge=0)] = ByteSize(0)
    lease: PositiveDuration = timedelta(seconds=30)
    heartbeat: PositiveDuration = timedelta(seconds=5)
    recover_grace: Duration = timedelta(seconds=30)
    recover_interval: PositiveDuration = timedelta(seconds=5)
    groups: Groups = Groups()
    health: Health = Health()

    @field_validator("queues")
    @classmethod
    def _queue_names(cls, queues: Mapping[str, int]) -> Mapping[str, int]:
        return {queue_name(name): weight for name, weight in queues.items()}

    @model_validator(mode="after")
    def _lease_outlives_a_missed_heartbeat(self) -> Self:
        if self.heartbeat * 2 > self.lease:
            raise ValueError(
                f"heartbeat ({format_duration(self.heartbeat)}) must be at most half of lease "
                f"({format_duration(self.lease)}), or one late heartbeat loses running tasks"
            )
        return self


class Server(Section):
    """`server`: the API server and the worker server."""

    http: Http = Http()
    worker: WorkerSettings = WorkerSettings()


class RedisSettings(Section):
    """`redis`: where the tasks are kept.

    `url` is `redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://` or `redis+cluster://`. While it is empty, the
    URL is made from `addr` (`host:port`, or the path of a unix socket), `username`, `password`, `db` and `tls`.
    `embedded` starts a private server instead. `allow_eviction` accepts a server that drops keys when its memory is full.
    """

    url: str = ""
    addr: str = "127.0.0.1:6379"
    username: str = ""
    password: SecretStr = SecretStr("")
    db: Natural = 0
    tls: bool = False
    embedded: bool = False
    allow_eviction: bool = False

    @property
    def effective_url(self) -> str:
        """The URL to connect to, with its password. `username` and `password` fill in where `url` has no credentials."""
        credentials = self._credentials()
        if self.url:
            # Put in as text: urlunsplit makes unix:/path of unix:///path.
            scheme, _, rest = self.url.partition("://")
            return self.url if "@" in urlsplit(self.url).netloc else f"{scheme}://{credentials}{rest}"
        if self.addr.startswith("/"):
            return f"unix://{credentials}{quote(self.addr)}?db={self.db}"
        return f"{'rediss' if self.tls else 'redis'}://{credentials}{self.addr}/{self.db}"

    def _credentials(self) -> str:
        password = self.password.get_secret_value()
        if not (self.username or password):
            return ""
        return f"{quote(self.username, safe='')}:{quote(password, safe='')}@"

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url and url.partition("://")[0] not in _URL_SCHEMES:
            raise ValueError(f"must start with one of {', '.join(f'{scheme}://' for scheme in _URL_SCHEMES)}")
        return url

    @field_validator("addr")
    @classmethod
    def _host_and_port(cls, addr: str) -> str:
        if not _ADDRESS.fullmatch(addr):
            raise ValueError("must be host:port, such as 127.0.0.1:6379, or the path of a unix socket")
        return addr

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Hide the URL's password; `SecretStr` hides the other one."""
        for name, value in super().__repr_args__():
            yield name, mask_url(value) if name == "url" else value


class Queues(Section):
    """`queues`: `default` is the queue of a task that names none."""

    default: Annotated[str, BeforeValidator(queue_name)] = "default"


class Tasks(Section):
    """`tasks`: what holds for tasks that do not say otherwise.

    `retention` (kept after the end) and `max_retries` are for tasks created over HTTP or by the command line; `timeout` is
    for one attempt. `payload_limit` is the largest payload in bytes.
    """

    retention: Duration = timedelta(hours=1)
    max_retries: Natural = 3
    timeout: PositiveDuration = timedelta(minutes=30)
    payload_limit: Size = ByteSize(1024 * 1024)


class Logging(Section):
    """`logging`: `format` auto means console on a terminal and JSON elsewhere."""

    level: LogLevel = "info"
    format: LogFormat = "auto"
    output: Literal["stderr", "stdout"] = "stderr"


class Progress(Section):
    """`progress`: for how long a task's progress is kept after its last entry, and about how many entries."""

    ttl: PositiveDuration = timedelta(hours=1)
    max_entries: Count = 1000


def _read_lock(value: object) -> object:
    return {"ttl": value} if isinstance(value, str | timedelta) else value


class LockSettings(Section):
    """`schedules.<id>.unique`: a unique lock; a time alone is its `ttl`. The choices are those of `Unique`."""

    ttl: PositiveDuration
    key: str | None = None
    fields: Names | None = None
    until: Until = "done"
    on_conflict: OnConflict = "refuse"

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        self.lock()
        return self

    def lock(self) -> Unique:
        """Return the lock. Raises `InvalidUnique`."""
        return Unique(self.ttl, key=self.key, fields=self.fields, until=self.until, on_conflict=self.on_conflict)


class ScheduleSettings(Section):
    """`schedules.<id>`: a periodic task; what is None is as the sections `tasks` and `queues` say.

    `spec`: when, such as `*/5 * * * *`, `@hourly` or `@every 30s`. `missed`: what becomes of times at which no scheduler
    ran: `skip`, `once` (the last) or `all` up to `catch_up`. `jitter`: each task falls due up to this much later.
    """

    spec: str
    type: str
    payload: Any = None
    timezone: str | None = None
    queue: Annotated[str, BeforeValidator(queue_name)] | None = None
    max_retries: Natural | None = None
    timeout: PositiveDuration | None = None
    retention: Duration | None = None
    unique: Annotated[LockSettings | None, BeforeValidator(_read_lock)] = None
    headers: Mapping[str, str] = {}
    missed: Missed = "skip"
    catch_up: Annotated[int, Field(ge=1, le=10_000)] = 100
    jitter: Duration = timedelta(0)

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        check_task_type(self.type)
        parsed(self.spec, self.timezone)
        TaskOptions(headers=self.headers)
        return self


Schedules = Annotated[
    Mapping[Annotated[str, Field(min_length=1, max_length=128)], ScheduleSettings], BeforeValidator(read_json)
]


class Settings(BaseSettings):
    """All settings, frozen. Its `repr` holds no secrets."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    app: App = App()
    server: Server = Server()
    redis: RedisSettings = RedisSettings()
    queues: Queues = Queues()
    tasks: Tasks = Tasks()
    api: Api = Api()
    dashboard: Dashboard = Dashboard()
    logging: Logging = Logging()
    progress: Progress = Progress()
    schedules: Schedules = {}
    webhooks: Webhooks = Webhooks()
    http_targets: HttpTargets = {}
    grpc_services: GrpcServices = GrpcServices()

    @property
    def log_level(self) -> LogLevel:
        """The lowest level of log lines: `logging.level`, or what `app.debug` makes of its default."""
        return "debug" if self.app.debug and "level" not in self.logging.model_fields_set else self.logging.level

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is passed: `load_settings` reads the sources, since it must know where each value came from."""
        return (init_settings,)
