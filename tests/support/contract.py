"""Contract: holds every answer of the API against its OpenAPI document, so that no test sees an undocumented one."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import httpx
import jsonschema_rs

_ANYWHERE = {"NOT_FOUND", "METHOD_NOT_ALLOWED", "INTERNAL_ERROR"}
"""Codes of answers that are no operation's, and of those that nobody asked for."""


class Contract:
    """The document of an API; `check` is a hook for httpx's clients."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[tuple[str, str, str], jsonschema_rs.Validator] = {}

    async def check(self, answer: httpx.Response) -> None:
        """Fail unless the answer's status, code and body are as documented."""
        request = answer.request
        found = self._operation(request.url.path, request.method.lower())
        if found is None or answer.headers.get("content-type", "").startswith("text/"):
            return
        path, operation = found
        await answer.aread()
        status = str(answer.status_code)
        what = f"{request.method} {path} answered {status}: {answer.text[:300]}"
        code = answer.json().get("code") if answer.is_error else None
        if code in _ANYWHERE:
            return
        response = operation["responses"].get(status)
        assert response is not None, f"the document does not know that {what}"
        if "content" not in response:
            assert not answer.content, what
            return
        (media,) = response["content"].values()
        assert code is None or code in media["examples"], f"the document does not know the code when {what}"
        key = (path, request.method, status)
        if key not in self._validators:
            schema = {**media["schema"], "components": self._document["components"]}
            self._validators[key] = jsonschema_rs.validator_for(schema)
        errors = [error.message for error in self._validators[key].iter_errors(answer.json())]
        assert not errors, f"{what} does not fit its schema: {errors}"

    def _operation(self, path: str, method: str) -> tuple[str, dict[str, Any]] | None:
        for pattern, template in self._patterns:
            if pattern.fullmatch(path) and method in self._document["paths"][template]:
                return template, self._document["paths"][template][method]
        return None

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """The paths, those with the fewest parameters first."""
        templates = sorted(self._document["paths"], key=lambda path: path.count("{"))
        return [(re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path).rstrip("/") + "/?"), path) for path in templates]
