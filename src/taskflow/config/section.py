"""Section: a group of settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings; unknown names are errors, and values do not change once they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
