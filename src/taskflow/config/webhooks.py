"""The settings `webhooks`: what is sent when a task has ended that names a callback URL."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, SecretStr, field_validator, model_validator

from taskflow.config.section import Section
from taskflow.config.values import Duration, Names, Natural, PositiveDuration, queue_name, read_names

_SHORTEST_SECRET = 16


class Webhooks(Section):
    """`webhooks`: what is sent when a task has ended that names a callback URL.

    `allow_hosts` are globs of the hosts that a callback URL may name; none: no webhooks. `secret` signs them: several while it
    is being replaced. `allow_private` lets them go to private addresses. Tasks in the queue `queue` send them; a request may take
    `timeout`, one that failed is sent again up to `max_retries` times, and what was sent is kept for `retention`.
    """

    allow_hosts: Names = ()
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(read_names)] = ()
    allow_private: bool = False
    queue: Annotated[str, BeforeValidator(queue_name)] = "webhooks"
    timeout: PositiveDuration = timedelta(seconds=10)
    max_retries: Natural = 15
    retention: Duration = timedelta(hours=1)

    @property
    def enabled(self) -> bool:
        """Whether there are webhooks."""
        return bool(self.allow_hosts)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets themselves."""
        return tuple(secret.get_secret_value() for secret in self.secret)

    @field_validator("secret")
    @classmethod
    def _are_long(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < _SHORTEST_SECRET for secret in secrets):
            raise ValueError(f"must have at least {_SHORTEST_SECRET} characters; make one with: openssl rand -hex 32")
        return secrets

    @model_validator(mode="after")
    def _can_be_signed(self) -> Self:
        if self.enabled and not self.secret:
            raise ValueError("secret is missing: receivers could not tell webhooks from forgeries")
        return self
