"""What a handler's docstring adds to its schema: descriptions and examples."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from conftest import StartWorker
from taskflow import TaskFlow
from taskflow.worker.docstring import BadExample, read_examples
from taskflow.worker.handler import Handler


def google(to: str, tags: list[str] = ["a"], count: int = 1) -> None:  # noqa: B006, D417 - defaults are copied, and not each parameter needs words
    """Send a mail,
    or two.

    Args:
        to: Whom to send it to,
            by address.
        count: How often.

    Example:
        {"to": "ada",
         "count": 2}

        With keywords:
        to="bob",
        tags=["x"]
    """  # noqa: D205 - a first paragraph of two lines


def numpy(to: str) -> None:
    """Send a mail.

    Parameters
    ----------
    to : str
        Whom to send it to.

    Examples:
    --------
    {"to": "ada"}
    """


def sphinx(to: str) -> None:
    """Send a mail.

    :param to: Whom to send it to.
    """


def test_the_docstring_describes_the_schema_and_gives_examples() -> None:
    handler = Handler(google)

    schema = handler.schema
    assert schema is not None
    assert schema["description"] == "Send a mail, or two."
    assert schema["properties"]["to"]["description"] == "Whom to send it to, by address."
    assert schema["properties"]["tags"]["default"] == ["a"]
    assert schema["properties"]["count"]["default"] == 1
    assert schema["examples"] == [{"to": "ada", "count": 2}, {"to": "bob", "tags": ["x"]}]
    assert handler.bad_examples == ()


@pytest.mark.parametrize("function", [numpy, sphinx])
def test_other_styles_describe_parameters_too(function: Any) -> None:
    schema = Handler(function).schema

    assert schema is not None
    assert schema["properties"]["to"]["description"] == "Whom to send it to."
    assert schema.get("examples", [{"to": "ada"}]) == [{"to": "ada"}]


def test_examples_of_whole_payloads_may_be_any_json() -> None:
    def whole(payload: list[int]) -> None:
        """Add numbers.

        Examples:
            [1, 2]
            This is prose.
            ["a"]
        """

    handler = Handler(whole)

    assert handler.schema is not None
    assert handler.schema["examples"] == [[1, 2]]
    assert len(handler.bad_examples) == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"to": }',
        '{"to": NaN}',
        '{"to": "a"} and more',
        "to=open('x')",
        'to="a", *rest',
        'to="a',
        'to={1, 2}, **{"a": 1}',
        "to=b'x'",
    ],
)
def test_what_cannot_be_read_is_told(text: str) -> None:
    (found,) = read_examples(text, fields=True)

    assert isinstance(found, BadExample)


@pytest.mark.parametrize("text", [">>> send('a')", "result = send('a')", "Some prose, to=a it.", ""])
def test_prose_and_code_are_no_examples(text: str) -> None:
    assert list(read_examples(text, fields=True)) == []


@pytest.mark.parametrize("example", ['{"to": 7}', '{"too": "ada"}', 'to="ada", cc="bob"'])
async def test_a_worker_warns_of_examples_that_do_not_fit_and_works_without_them(
    app: TaskFlow, start_worker: StartWorker, example: str
) -> None:
    async def send(to: str) -> None: ...

    send.__doc__ = f"Send a mail.\n\nExample:\n    {example}\n"
    app.task("mail")(send)

    with capture_logs() as logs:
        await start_worker(app)

    (warning,) = [line for line in logs if line["event"] == "an example in a docstring is left out"]
    assert warning["log_level"] == "warning"
    assert warning["handler"].endswith("send")
    assert warning["type"] == "mail"
    (route,) = app.registry.routes
    assert "examples" not in (route.handler.schema or {})
