"""The settings `http_targets` and `grpc_services`: who carries tasks out in other languages, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, field_validator, model_validator

from taskflow.config.section import Section
from taskflow.config.values import Duration, Names, Natural, PositiveDuration, Size, read_json
from taskflow.task import check_task_type
from taskflow.urls import HttpUrl

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):\d{1,5}|unix:\S+|dns:\S+")
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class HttpTarget(Section):
    """`http_targets.<name>`: an HTTP service that carries tasks out.

    Tasks of the `types` (a `*` at the end: of all that begin so) are posted to `url`, with `headers`, in whose values `${NAME}`
    stands for a variable of the worker's environment. A request may take `timeout`, and no longer than its task; a connection must
    be made within `connect_timeout`. `result_limit` is the largest answer in bytes.
    """

    url: str
    types: Names = ()
    headers: Mapping[str, SecretStr] = {}
    timeout: PositiveDuration = timedelta(minutes=30)
    connect_timeout: PositiveDuration = timedelta(seconds=10)
    result_limit: Size = ByteSize(1024 * 1024)

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        HttpUrl.parse(url)
        return url

    @field_validator("types")
    @classmethod
    def _are_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for name in types:
            check_task_type(name)
        return types

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower() in _OURS:
                raise ValueError(f"{name!r} is no header that a target can be sent")
            check_header_value(name, value.get_secret_value())
        return headers


def check_header_value(name: str, value: str) -> None:
    """Refuse what no header's value can be. Raises `ValueError`, without the value: it may be a secret."""
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"the value of the header {name} must be one line of ASCII characters")


class GrpcDefaults(Section):
    """`grpc_services.defaults`: what holds for services that do not say otherwise.

    `timeout` is for one attempt, unless its payload says otherwise, and within its task's. `health_check_interval`: how long an
    answer about a service's health is taken to be true. `max_retries` and `retry_delay`: how often, and after what time, a question
    about health or a cancellation is sent again.
    """

    timeout: PositiveDuration = timedelta(minutes=5)
    health_check_interval: PositiveDuration = timedelta(seconds=30)
    max_retries: Natural = 3
    retry_delay: Duration = timedelta(seconds=1)


class GrpcTls(Section):
    """`grpc_services.services.<name>.tls`: how a service is called with TLS.

    `ca`, `cert` and `key` are paths of PEM files: the authorities (default: the system's), and the worker's own certificate.
    `server_name` is what the service's certificate names, if that is not the address.
    """

    enabled: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together; name both or none")
        return self


def _read_tls(value: object) -> object:
    return {"enabled": value} if isinstance(value, bool) else value


class GrpcService(Section):
    """`grpc_services.services.<name>`: a gRPC service that carries tasks out; what is None is as the defaults say.

    `address` is `host:port`. `keepalive_time`: after how long without a word the connection is tested, and given up if there is
    no answer within `keepalive_timeout`; many servers refuse to be tested more often than every five minutes.
    """

    address: str
    timeout: PositiveDuration | None = None
    health_check_interval: PositiveDuration | None = None
    max_retries: Natural | None = None
    retry_delay: Duration | None = None
    tls: Annotated[GrpcTls, BeforeValidator(_read_tls)] = GrpcTls(enabled=False)
    keepalive_time: PositiveDuration = timedelta(minutes=5)
    keepalive_timeout: PositiveDuration = timedelta(seconds=20)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise ValueError("must be host:port, such as llm.internal:50051")
        return address


class GrpcServices(Section):
    """`grpc_services`: the services that tasks of the type `grpc_task` name; without any, workers do not serve that type."""

    enabled: bool = True
    services: Annotated[Mapping[_Name, GrpcService], BeforeValidator(read_json)] = {}
    defaults: GrpcDefaults = GrpcDefaults()

    @property
    def effective(self) -> Mapping[str, GrpcService]:
        """The services by name, with the defaults filled in; none if they are not enabled."""
        if not self.enabled:
            return {}
        defaults = dict(self.defaults)
        return {
            name: service.model_copy(
                update={key: value for key, value in defaults.items() if getattr(service, key) is None}
            )
            for name, service in self.services.items()
        }


HttpTargets = Annotated[Mapping[_Name, HttpTarget], BeforeValidator(read_json)]
