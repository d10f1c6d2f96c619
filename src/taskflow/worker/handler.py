"""Handler: what a plain function becomes. Its signature is the schema of the payload, and binds the payload to arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal

import msgspec
from msgspec import NODEFAULT

from taskflow.errors import ConfigError, InvalidPayload
from taskflow.wire.payload import decode_hook, encode_hook, encode_payload
from taskflow.worker.context import TaskContext
from taskflow.worker.dependencies import Dependency, Graph, dependency_of
from taskflow.worker.payload_schema import PayloadSchema
from taskflow.worker.signature import VARIADIC, parameters_of

Executor = Literal["async", "thread", "process"]
"""Where a handler runs: on the event loop, in a thread, or in a process that can be killed."""

_WHERE = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(?P<expected>[^`]*)`(?:, got `(?P<got>[^`]*)`)?")


class Handler:
    """A function that carries out tasks.

    A first parameter annotated `TaskContext` receives the context. A single other parameter called `payload` receives
    the whole payload (annotated `bytes`: as it is); otherwise the parameters are the fields of a JSON object, by name,
    converted to their annotations. Fields that the function does not name are ignored. Parameters with `Depends` are
    provided beside the payload.

    Args:
        function: `async def` or `def`.
        executor: Where a `def` function runs: `thread` (default) or `process`.

    Raises:
        ConfigError: The signature cannot be a handler's.

    """

    def __init__(self, function: Callable[..., Any], *, executor: Executor | None = None) -> None:
        self.function = function
        self.name = getattr(function, "__qualname__", repr(function))
        self.doc = inspect.getdoc(function) or ""
        self.executor = _executor(function, executor)
        parameters = self._parameters()
        self.takes_context = bool(parameters) and parameters[0].annotation is TaskContext
        self.dependencies: dict[str, Dependency] = {}
        """What is provided beside the payload, by parameter."""
        self._arguments, self._keywords = self._take_dependencies(parameters[1:] if self.takes_context else parameters)
        self._whole = len(self._arguments) == 1 and self._arguments[0].name == "payload"
        self._raw = self._whole and self._arguments[0].annotation is bytes
        self._payload_type = Any if self._raw else self._make_payload_type()
        self._decoder = msgspec.json.Decoder(self._payload_type, dec_hook=decode_hook)

    def _parameters(self) -> list[inspect.Parameter]:
        parameters = parameters_of(self.function, f"handler {self.name}")
        for parameter in parameters:
            if parameter.kind in VARIADIC:
                raise ConfigError(
                    f"handler {self.name}: *{parameter.name} cannot be bound to a payload; name the fields, "
                    "or take the whole payload with one parameter called `payload`"
                )
        return parameters

    def _take_dependencies(self, parameters: list[inspect.Parameter]) -> tuple[list[inspect.Parameter], list[str]]:
        """Take the dependencies out of the parameters; return the others, and which of them are passed by name."""
        arguments: list[inspect.Parameter] = []
        keywords: list[str] = []
        for parameter in parameters:
            dependency = dependency_of(parameter)
            if dependency is not None:
                self._check(parameter, dependency)
                self.dependencies[parameter.name] = dependency
                continue
            arguments.append(parameter)
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY or self.dependencies:
                keywords.append(parameter.name)
        return arguments, keywords

    def _check(self, parameter: inspect.Parameter, dependency: Dependency) -> None:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigError(f"handler {self.name}: the dependency {parameter.name!r} must not be positional-only")
        if self.executor == "process":
            raise ConfigError(
                f"handler {self.name}: with executor='process' it cannot have the dependency {parameter.name!r}, which is "
                "open in the worker's own process; open it in the handler, or once in each process by `app.warm_up`"
            )
        Graph().check(dependency)

    def _make_payload_type(self) -> Any:
        if self._whole:
            return self._arguments[0].annotation
        fields: list[Any] = []
        for parameter in self._arguments:
            default = NODEFAULT if parameter.default is inspect.Parameter.empty else _default(parameter.default)
            fields.append((parameter.name, parameter.annotation, default))
        return msgspec.defstruct(self.name.rpartition(".")[2], fields, kw_only=True)

    @property
    def schema(self) -> dict[str, Any] | None:
        """JSON Schema of the payload, with what the docstring says of it; None if any bytes will do."""
        return None if self._raw else self._payload_schema.schema

    @property
    def bad_examples(self) -> tuple[str, ...]:
        """What is wrong with examples of the docstring: those are left out of the schema."""
        return () if self._raw else self._payload_schema.bad_examples

    @cached_property
    def _payload_schema(self) -> PayloadSchema:
        return PayloadSchema.of(self._payload_type, self._arguments, whole=self._whole, doc=self.doc, accept=self.bind)

    def bind(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that a payload stands for, the context not among them.

        Raises:
            InvalidPayload: The payload does not fit the signature.

        """
        if self._raw:
            return self._one(payload)
        if not payload and self._whole and self._arguments[0].default is not inspect.Parameter.empty:
            return (), {}
        try:
            value = self._decoder.decode(payload or (b"null" if self._whole else b"{}"))
        except msgspec.MsgspecError as error:
            raise invalid_payload(str(error)) from error
        except (ValueError, TypeError, RecursionError) as error:  # a hook's: pydantic's ValidationError is a ValueError
            raise InvalidPayload(str(error)) from error
        if self._whole:
            return self._one(value)
        values = msgspec.structs.astuple(value)
        if not self._keywords:
            return values, {}
        first = len(values) - len(self._keywords)
        return values[:first], dict(zip(self._keywords, values[first:], strict=True))

    def _one(self, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((), {"payload": payload}) if self._keywords else ((payload,), {})

    def payload(self, *args: Any, **kwargs: Any) -> bytes:
        """Return the payload that stands for arguments of the function, the context not among them.

        Raises:
            TypeError: The arguments do not fit the signature.
            InvalidPayload: A value does not fit its annotation.

        """
        bound = inspect.Signature(self._arguments).bind(*args, **kwargs).arguments
        if self._whole and not bound:
            return b""  # the parameter has a default
        data = encode_payload(bound["payload"] if self._whole else bound)
        self.bind(data)
        return data

    def call(self, context: TaskContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function; an `async def` one answers with its coroutine."""
        if self.takes_context:
            return self.function(context, *args, **kwargs)
        return self.function(*args, **kwargs)


def _executor(function: Callable[..., Any], wanted: Executor | None) -> Executor:
    is_async = inspect.iscoroutinefunction(function)
    if is_async and wanted in {None, "async"}:
        return "async"
    if not is_async and wanted != "async":
        return wanted or "thread"
    name = getattr(function, "__qualname__", function)
    kind = (
        "an `async def` function runs on the event loop"
        if is_async
        else "a `def` function runs in a thread or a process"
    )
    raise ConfigError(f"handler {name}: executor={wanted!r} does not fit: {kind}")


def _default(value: Any) -> Any:
    """Return the default of a field: mutable ones are copied for each task."""
    if isinstance(value, list | dict | set | bytearray) and value:
        return msgspec.field(default_factory=partial(_copied, value))
    return value


def _copied(value: Any) -> Any:
    return value.copy()


def invalid_payload(text: str) -> InvalidPayload:
    """Return the error for a message of msgspec's: "Expected `str`, got `int` - at `$.to`"."""
    match = _WHERE.match(text)
    reason = match["reason"] if match else text
    types = _EXPECTED.match(reason)
    path = (match["path"] if match else None) or "$"
    return InvalidPayload(
        f"{reason} at {path}",
        path=path,
        expected=types["expected"] if types else None,
        got=types["got"] if types else None,
    )


def to_builtins(value: Any) -> Any:
    """Return a value as plain JSON types, pydantic models too."""
    return msgspec.to_builtins(value, enc_hook=encode_hook)
