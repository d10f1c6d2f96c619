"""API keys as they are stored: what a key is called, what it may do, and the digest that tells it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from taskflow.config.section import Section
from taskflow.config.values import Names, read_json, read_names

Scope = Literal["read", "write", "admin"]
"""What a key may do: look; create and change tasks; what changes the system for everybody. `admin` includes the others."""
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


class KeyRecord(Section):
    """`api.auth.keys[]`, and a line of the key file: one API key.

    `name` tells it in logs. `digest` is the SHA-256 of the key in hexadecimal digits, `sha256:` before them or not. `scopes` are
    of `read`, `write` and `admin`. `queues` are globs of the only queues that it may see and touch; none: all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    digest: SecretStr
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(read_names), Field(min_length=1)]
    queues: Names = ()

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, queue: str) -> bool:
        """Whether it may see and touch a queue."""
        return not self.queues or any(fnmatchcase(queue, pattern) for pattern in self.queues)

    @property
    def digest_bytes(self) -> bytes:
        """The digest itself."""
        return bytes.fromhex(self.digest.get_secret_value())

    @field_validator("digest")
    @classmethod
    def _is_sha256(cls, digest: SecretStr) -> SecretStr:
        found = _DIGEST.fullmatch(digest.get_secret_value())
        if found is None:  # it may be the key itself, so it is not repeated
            raise ValueError("must be a SHA-256 digest of 64 hexadecimal digits; make one with: taskflow keys new")
        return SecretStr(found[1].lower())


def check_names(records: Iterable[KeyRecord]) -> None:
    """Refuse keys that logs could not tell apart. Raises `ValueError`."""
    seen: set[str] = set()
    for record in records:
        if record.name in seen:
            raise ValueError(f"two keys are called {record.name!r}; give each a name of its own")
        seen.add(record.name)


Keys = Annotated[tuple[KeyRecord, ...], BeforeValidator(read_json)]
