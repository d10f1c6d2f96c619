"""Signatures: the parameters of a user's function, with their annotations resolved."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from taskflow.errors import ConfigError

VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def parameters_of(function: Callable[..., Any], what: str) -> list[inspect.Parameter]:
    """Return a function's parameters; one without an annotation is annotated `Any`.

    Args:
        function: The function.
        what: What it is called in errors: `handler send_email`.

    Raises:
        ConfigError: An annotation names what does not exist.

    """
    signature = inspect.signature(function)
    annotated = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(annotated, include_extras=True)
    except NameError as error:
        raise ConfigError(f"{what}: an annotation cannot be resolved: {error}") from error
    except TypeError:  # a partial, an object with `__call__`: whatever else can be called
        hints = {}
    return [parameter.replace(annotation=hints.get(parameter.name, Any)) for parameter in signature.parameters.values()]
