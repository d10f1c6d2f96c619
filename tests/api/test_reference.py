"""The OpenAPI document as others read it: the reference in docs/http-api.md, pages of documentation, generators of clients."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from support import reference
from taskflow.api.samples import SAMPLES

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return reference.document()


@pytest.fixture
def operations(document: dict[str, Any]) -> list[Operation]:
    return [operation for _, _, operation in reference.operations(document)]


def test_the_page_has_the_reference_of_the_document(document: dict[str, Any]) -> None:
    page = reference.PAGE.read_text()

    assert page == reference.with_reference(page, document), "run `make docs`"


def test_every_link_within_the_page_leads_somewhere() -> None:
    page = reference.PAGE.read_text()
    anchors = {reference.anchor(heading) for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}

    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


def test_every_operation_has_a_sample_and_every_sample_an_operation(operations: list[Operation]) -> None:
    names = [operation["operationId"] for operation in operations]

    assert sorted(names) == sorted(SAMPLES)


def test_a_generator_can_name_every_operation(document: dict[str, Any], operations: list[Operation]) -> None:
    tags = [tag["name"] for tag in document["tags"]]

    assert all(re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"]) for operation in operations)
    assert all(len(operation["tags"]) == 1 and operation["tags"][0] in tags for operation in operations)
    assert all(operation["description"] for operation in operations)
    assert len({operation["summary"] for operation in operations}) == len(operations)


def test_every_operation_says_what_else_it_answers(document: dict[str, Any]) -> None:
    error = {"$ref": "#/components/schemas/ErrorBody"}
    for path, _, operation in reference.operations(document):
        failed = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for status, answer in failed.items() if path.startswith("/api/") else ():
            (media,) = answer["content"].values()
            assert media["schema"] == error, (operation["operationId"], status)
        assert not any(" follows" in answer["description"] for answer in operation["responses"].values())


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    wrong = [
        f"{where}: {error.message}"
        for where, schema, example in _examples(document)
        for error in jsonschema_rs.validator_for({**schema, "components": document["components"]}).iter_errors(example)
    ]

    assert not wrong


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield every example of the document, with where it stands and its schema."""
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            yield name, schema, example
    for _, _, operation in reference.operations(document):
        name = operation["operationId"]
        for parameter in operation.get("parameters", ()):
            if "example" in parameter:
                yield f"{name} {parameter['name']}", parameter["schema"], parameter["example"]
        for status, answer in operation["responses"].items():
            for media in answer.get("content", {}).values():
                for example in (*media.get("examples", {}).values(), {"value": media.get("example")}):
                    if example["value"] is not None:
                        yield f"{name} {status}", media["schema"], example["value"]
