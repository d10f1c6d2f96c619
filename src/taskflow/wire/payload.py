"""Payloads and results <-> bytes: JSON, or bytes as they are."""

from __future__ import annotations

import base64
import sys
from typing import Any, Literal

import msgspec

from taskflow.errors import InvalidPayload


def encode_payload(value: Any) -> bytes:
    """Return the bytes of a payload or result: `bytes` as they are, None as none, anything else as JSON.

    Raises:
        InvalidPayload: The value has no JSON form.

    """
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"{value!r:.200} has no JSON form: {error}") from error


def json_or_base64(data: bytes | None) -> tuple[Any, Literal["json", "base64"]]:
    """Return bytes as they can stand in JSON, and how: what is JSON as it is, none as null, the rest as Base64."""
    if not data:
        return None, "json"
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return base64.b64encode(data).decode(), "base64"
    return msgspec.Raw(data), "json"


def encode_hook(value: Any) -> Any:
    """Return something msgspec can encode for a value it does not know: pydantic models are dumped their own way."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"objects of type {type(value).__name__} have no JSON form")


def decode_hook(wanted: Any, value: Any) -> Any:
    """Return a value of a type msgspec does not know: pydantic models validate it their own way."""
    if _is_model(wanted):
        return wanted.model_validate(value)
    if isinstance(value, wanted):
        return value
    raise TypeError(f"cannot make a {wanted.__name__} of JSON")


def schema_hook(wanted: Any) -> dict[str, Any]:
    """Return the JSON schema of a type msgspec does not know; any value will do where nothing is known."""
    if _is_model(wanted):
        schema: dict[str, Any] = wanted.model_json_schema()
        return schema
    return {}


def _is_model(wanted: Any) -> bool:
    """Whether a type is a pydantic model; pydantic is not imported to find out."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(wanted, type) and issubclass(wanted, pydantic.BaseModel)


_ENCODER = msgspec.json.Encoder(enc_hook=encode_hook)
