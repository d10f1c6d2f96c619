"""KeyRing: the API keys that are known now. Keys themselves are never kept, only their SHA-256 digests."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import yaml
from pydantic import TypeAdapter, ValidationError

from taskflow.config.api import Auth
from taskflow.config.keys import KeyRecord, check_names
from taskflow.errors import ConfigError

CHECK_SECONDS = 1.0
"""How often the key file is looked at, at most."""
_PREFIX = "tf_"
_RANDOM_BYTES = 32
_LOG = structlog.get_logger("taskflow.api")
_RECORDS = TypeAdapter(tuple[KeyRecord, ...])


class KeyRing:
    """Tells whose key a request has.

    Args:
        auth: The settings `api.auth`.
        clock: Seconds that only grow.

    Raises:
        ConfigError: The key file cannot be used.

    """

    def __init__(self, auth: Auth, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settled = auth.keys
        self._file = Path(auth.key_file) if auth.key_file else None
        self._clock = clock
        self._look_at = clock() + CHECK_SECONDS
        self._seen = _version(self._file)
        self._known = self._load()

    @property
    def records(self) -> Sequence[KeyRecord]:
        """What is known now."""
        return [record for _, record in self._known]

    def find(self, key: bytes) -> KeyRecord | None:
        """Return the record of a key. It takes the same time whichever key it is, and for a wrong one."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        found = None
        for known, record in self._known:
            if hmac.compare_digest(known, digest):
                found = record
        return found

    def named(self, name: str) -> KeyRecord | None:
        """Return the record of the key with a name."""
        self._refresh()
        return next((record for _, record in self._known if record.name == name), None)

    def _refresh(self) -> None:
        """Read a file that has changed; one that cannot be used changes nothing."""
        if self._file is None or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + CHECK_SECONDS
        version = _version(self._file)
        if version == self._seen:
            return
        self._seen = version
        try:
            self._known = self._load()
        except ConfigError as error:
            _LOG.error("the key file cannot be used; the keys stay as they were", error=str(error))
        else:
            _LOG.info("the keys were read again", keys=len(self._known))

    def _load(self) -> list[tuple[bytes, KeyRecord]]:
        records = (*self._settled, *(read_keys(self._file) if self._file is not None else ()))
        try:
            check_names(records)
        except ValueError as error:
            raise ConfigError(f"api.auth: {error}") from error
        return [(record.digest_bytes, record) for record in records]


def new_key() -> str:
    """Return a new key: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: str) -> str:
    """Return a key's digest, as records have it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """Return the records of a key file: a YAML list, of which `taskflow keys new` writes one item a line.

    Raises:
        ConfigError: It cannot be read, or is no such list. The message repeats nothing of what is in it.

    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{path}: is not YAML{f' in line {mark.line + 1}' if mark else ''}") from None
    try:
        records = _RECORDS.validate_python(content or ())
        check_names(records)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False))
        raise ConfigError(f"{path}: {'; '.join(problems)}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return records


def line_of(record: KeyRecord) -> str:
    """Return a record as a line of a key file, with its end."""
    fields = {"name": record.name, "digest": f"sha256:{record.digest.get_secret_value()}", "scopes": record.scopes}
    if record.queues:
        fields["queues"] = record.queues
    return f"- {msgspec.json.encode(fields).decode()}\n"  # JSON is YAML


def append_key(path: Path, record: KeyRecord) -> None:
    """Add a record to a key file, which only its owner may read if it is new.

    Raises:
        ConfigError: The file cannot be used, or has a key of this name.

    """
    try:
        if path.exists():
            check_names((*read_keys(path), record))
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as file:
            text = file.read()
            file.write(("" if not text or text.endswith("\n") else "\n") + line_of(record))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _version(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None for none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
