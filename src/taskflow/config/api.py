"""The settings `api`: who may use the HTTP API, and for what."""

from __future__ import annotations

from typing import Self

from pydantic import field_validator, model_validator

from taskflow.config.keys import KeyRecord, Keys, check_names
from taskflow.config.section import Section
from taskflow.config.values import Count, Names, Natural, Rate


class Auth(Section):
    """`api.auth`: who may use the API; without keys, everybody who reaches it.

    `keys` are API keys. `key_file` has more, one a line; it is read again when it changes. `disabled` lets the API listen on a
    public address without keys.
    """

    keys: Keys = ()
    key_file: str = ""
    disabled: bool = False

    @property
    def enabled(self) -> bool:
        """Whether a key is asked for."""
        return bool(self.keys or self.key_file)

    @field_validator("keys")
    @classmethod
    def _can_be_told_apart(cls, keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        check_names(keys)
        return keys

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.disabled and self.enabled:
            raise ValueError("disabled is true although there are keys; take the keys away, or set it to false")
        return self


class Cors(Section):
    """`api.cors`: the origins, such as `https://app.example.org`, whose pages may call the API; none by default."""

    allow_origins: Names = ()


class Streams(Section):
    """`api.streams`: how many event streams each API process keeps open at most, in all and for one client.

    A client is an API key, or an address while there are no keys.
    """

    max: Count = 1000
    per_client: Count = 100


class RateLimit(Section):
    """`api.rate_limit`: how often somebody may ask, in each API process.

    `rate` is for a key, and for the address of a request without one: `100/s`, `600/m` or `5000/h`; empty: no limit. `burst` is
    how many may come at once; 0 means as many as `rate` names. `failures`: how many wrong keys an address may try.
    """

    rate: Rate = ""
    burst: Natural = 0
    failures: Rate = "60/m"


class Api(Section):
    """`api`: `allow_types` are globs of task types that are accepted although no Python worker has published them."""

    allow_types: Names = ()
    auth: Auth = Auth()
    cors: Cors = Cors()
    streams: Streams = Streams()
    rate_limit: RateLimit = RateLimit()
