"""Settings: defaults < YAML file < `TASKFLOW_*` environment < options of the command line.

`load_settings` reads and checks them all and says everything that is wrong in one `ConfigError`; `describe` tells where
each value came from. A setting's name is its path in the YAML file, `server.http.port`; in the environment the dots are
underscores, `TASKFLOW_SERVER_HTTP_PORT` (or `TASKFLOW_SERVER__HTTP__PORT`). Durations are text as in Go, `30s`; sizes are
bytes or text, `1MiB`. In the environment, lists are `a,b` and weights `critical=6,low=1`; JSON is read there too.

pydantic takes about 100 ms to import, so whoever must start fast imports this package where it is used.
"""

from taskflow.config.api import Api, Auth, Cors
from taskflow.config.dashboard import Dashboard
from taskflow.config.settings import (
    App,
    Health,
    Http,
    Logging,
    Progress,
    Queues,
    RedisSettings,
    ScheduleSettings,
    Server,
    Settings,
    Tasks,
    WorkerSettings,
    mask_url,
)
from taskflow.config.sources import Setting, describe, environment_name, load_settings, setting_names
from taskflow.config.targets import GrpcService, GrpcServices, HttpTarget
from taskflow.config.values import LogFormat, LogLevel

__all__ = [
    "Api",
    "App",
    "Auth",
    "Cors",
    "Dashboard",
    "GrpcService",
    "GrpcServices",
    "Health",
    "Http",
    "HttpTarget",
    "LogFormat",
    "LogLevel",
    "Logging",
    "Progress",
    "Queues",
    "RedisSettings",
    "ScheduleSettings",
    "Server",
    "Setting",
    "Settings",
    "Tasks",
    "WorkerSettings",
    "describe",
    "environment_name",
    "load_settings",
    "mask_url",
    "setting_names",
]
