"""docs/configuration.md names every setting, with its default."""

from __future__ import annotations

import re
from pathlib import Path

from taskflow.config import describe, load_settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"


def test_the_page_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (?:`([^`]*)`)? ?\|", PAGE.read_text(), re.MULTILINE)

    assert rows == [(setting.name, setting.value) for setting in describe(load_settings(environ={}))]
