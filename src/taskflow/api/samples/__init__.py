"""Samples: for each operation a request and its answer, in the OpenAPI document and so on every page made from it.

They can be sent one after another to `taskflow dev`, after a task `hello` for its demo handler: what one needs is left by
those before it. The document's paths have their order.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct

from taskflow.api.samples import around, progress, queues, schedules, tasks
from taskflow.api.samples.sample import Sample

SAMPLES: dict[str, Sample] = {
    **tasks.SAMPLES,
    **progress.SAMPLES,
    **queues.SAMPLES,
    **schedules.SAMPLES,
    **around.SAMPLES,
}
"""The samples by the ids of their operations."""
_PLACES = {name: place for place, name in enumerate(SAMPLES)}


def add_to(document: dict[str, Any]) -> None:
    """Put the samples into an OpenAPI document, and its paths into their order."""
    schemas = document["components"]["schemas"]
    root = document["servers"][0]["url"].rstrip("/")
    paths = {
        path: dict(sorted(item.items(), key=lambda pair: _place(pair[1]))) for path, item in document["paths"].items()
    }
    document["paths"] = dict(sorted(paths.items(), key=lambda pair: min(map(_place, pair[1].values()))))
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if (sample := SAMPLES.get(operation["operationId"])) is not None:
                sample.describe(root + path, method, operation, schemas)
    for name, text in _descriptions().items():
        schemas[name].setdefault("description", text)


def _place(operation: dict[str, Any]) -> int:
    return _PLACES.get(operation["operationId"], len(_PLACES))


def _descriptions() -> dict[str, str]:
    """What the answers' schemas are, which Litestar leaves out, by their names."""
    answers = [sample.answer[0] if isinstance(sample.answer, list) else sample.answer for sample in SAMPLES.values()]
    types = dict.fromkeys(type(answer) for answer in answers if isinstance(answer, Struct))
    _, components = msgspec.json.schema_components(types)
    return {name: cleandoc(schema["description"]) for name, schema in components.items()}
