"""PayloadSchema: the JSON Schema of a handler's payload, as the catalog has it: with descriptions, defaults and examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

import jsonschema_rs
import msgspec
from msgspec import Struct

from taskflow.errors import InvalidPayload
from taskflow.wire.payload import encode_hook, schema_hook
from taskflow.worker.docstring import BadExample, Docstring, read_examples

MOST_EXAMPLES = 10
_LONGEST_EXAMPLE = 10_000
_SHOWN = 200


class PayloadSchema(Struct, frozen=True):
    """The schema of a payload.

    Attributes:
        schema: The JSON Schema.
        bad_examples: What is wrong with the examples of the docstring that are left out of it.

    """

    schema: dict[str, Any]
    bad_examples: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        payload_type: Any,
        arguments: Sequence[Parameter],
        *,
        whole: bool,
        doc: str,
        accept: Callable[[bytes], object],
    ) -> PayloadSchema:
        """Return the schema of a type.

        Args:
            payload_type: The type that payloads are decoded to.
            arguments: The function's parameters that it stands for.
            whole: Whether the one parameter takes the whole payload.
            doc: The function's docstring.
            accept: Takes a payload as a worker would. Raises `InvalidPayload`.

        """
        text = Docstring.of(doc)
        schema = _schema(payload_type, whole=whole)
        if whole:
            _default(schema, arguments[0])
        else:
            for argument in arguments:
                field = schema["properties"][argument.name]
                _default(field, argument)
                if argument.name in text.parameters:
                    field.setdefault("description", text.parameters[argument.name])
        if text.summary:
            schema.setdefault("description", " ".join(text.summary.split()))
        examples, bad = _examples(text, schema, fields=not whole, accept=accept)
        if examples:
            schema["examples"] = examples
        return cls(schema, tuple(bad))


def _schema(payload_type: Any, *, whole: bool) -> dict[str, Any]:
    (schema,), components = msgspec.json.schema_components(
        [payload_type], schema_hook=schema_hook, ref_template="#/$defs/{name}"
    )
    if not whole:
        name = schema["$ref"].rpartition("/")[2]
        schema = {**components.pop(name), "additionalProperties": False}
    if components:
        schema["$defs"] = components
    return schema


def _default(schema: dict[str, Any], argument: Parameter) -> None:
    """Add a default that msgspec leaves out: a list, an object, a model."""
    if argument.default is Parameter.empty or "default" in schema:
        return
    try:
        schema["default"] = msgspec.to_builtins(argument.default, enc_hook=encode_hook, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        return  # it has no JSON form, so nobody can send it


def _examples(
    text: Docstring, schema: dict[str, Any], *, fields: bool, accept: Callable[[bytes], object]
) -> tuple[list[Any], list[str]]:
    """Return the examples that fit, and what is wrong with the others."""
    examples: list[Any] = []
    bad: list[str] = []
    for example in (one for section in text.examples for one in read_examples(section, fields=fields)):
        if isinstance(example, BadExample):
            bad.append(f"{example.reason}, in: {example.text[:_SHOWN]}")
        elif (problem := _problem(example, schema, accept)) is not None:
            bad.append(f"{problem}, in: {json.dumps(example)[:_SHOWN]}")
        elif len(examples) == MOST_EXAMPLES:
            bad.append(f"there are more than {MOST_EXAMPLES}")
            break
        else:
            examples.append(example)
    return examples, bad


def _problem(example: Any, schema: dict[str, Any], accept: Callable[[bytes], object]) -> str | None:
    """Return why the API or a worker would refuse an example, None if neither would."""
    data = msgspec.json.encode(example)
    if len(data) > _LONGEST_EXAMPLE:
        return f"it is longer than {_LONGEST_EXAMPLE} bytes"
    try:
        validator = jsonschema_rs.validator_for(schema)
        for error in validator.iter_errors(example):
            return error.message
        accept(data)
    except (InvalidPayload, ValueError) as error:
        return str(error)
    return None
