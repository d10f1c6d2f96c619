"""Target: MODULE:APP on the command line -> the handlers to run."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from taskflow.app import TaskFlow
from taskflow.errors import ConfigError
from taskflow.worker.registry import Registry


class Target(NamedTuple):
    """What was found: the handlers, and the application they belong to (None: the module holds a bare registry)."""

    registry: Registry
    app: TaskFlow | None


def load_target(text: str) -> Target:
    """Import the module, as if started in the working directory, and find the application in it.

    Without `:APP`, the module's only application is taken.

    Raises:
        ConfigError: There is no such module, it cannot be imported, or it has no such application.

    """
    module_name, _, name = text.partition(":")
    module = _import(module_name)
    candidates = {key: value for key, value in vars(module).items() if isinstance(value, TaskFlow | Registry)}
    if not name and len(candidates) == 1:
        (name,) = candidates
    found = candidates.get(name)
    if found is None:
        raise ConfigError(_no_app(module, module_name, name, sorted(candidates)))
    return Target(found.registry, found) if isinstance(found, TaskFlow) else Target(found, None)


def check_handlers(target: Target, text: str) -> None:
    """Refuse to work without handlers, those of the settings included. Raises `ConfigError`."""
    if target.registry.routes:
        return
    if target.app is None:
        raise ConfigError(f"{text} has no handlers, and neither the settings http_targets nor grpc_services name any")
    name = text.partition(":")[2] or "app"
    raise ConfigError(f"{text} has no handlers; decorate a function with @{name}.task('its:type')")


def _no_app(module: ModuleType, module_name: str, name: str, candidates: list[str]) -> str:
    if not candidates:
        return f"no TaskFlow object in module {module_name!r}; make one there: app = TaskFlow()"
    known = ", ".join(f"{module_name}:{candidate}" for candidate in candidates)
    if not name:
        return f"module {module_name!r} has several applications; name one: {known}"
    what = "is no TaskFlow object" if hasattr(module, name) else "does not exist"
    return f"{module_name}:{name} {what}; there is {known}"


def _import(name: str) -> ModuleType:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if not all(part.isidentifier() for part in name.split(".")) or name.endswith(".py"):
        module = name.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigError(f"{name!r} is no module's name; write MODULE:APP with dots, such as {module or 'tasks'}:app")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"no module {error.name!r} in {directory}, nor installed; is this the right directory?"
            ) from error
        raise ConfigError(_broken(name, error)) from error
    except Exception as error:
        raise ConfigError(_broken(name, error)) from error


def _broken(name: str, error: Exception) -> str:
    """One line on why a module cannot be imported: the error, and the last line of code it came through."""
    if isinstance(error, SyntaxError):
        place = (error.filename, error.lineno)
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = (last.filename, last.lineno)
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"module {name!r} cannot be imported: {type(error).__name__}: {message} ({place[0]}, line {place[1]})"
