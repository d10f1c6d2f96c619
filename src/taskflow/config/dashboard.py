"""The settings `dashboard`: the pages that the API server offers to browsers."""

from __future__ import annotations

from datetime import timedelta

from pydantic import SecretStr

from taskflow.config.keys import Scope
from taskflow.config.section import Section
from taskflow.config.values import PositiveDuration


class Dashboard(Section):
    """`dashboard`: whether the API server has pages, and what they show.

    `session`: for how long a login holds after the last look. `secret` is mixed into the signature of logins: who knows the
    digests of the keys, but not the secret, cannot make one. `payloads`: the scope that a key needs for payloads and results to be
    shown.
    """

    enabled: bool = True
    session: PositiveDuration = timedelta(hours=12)
    secret: SecretStr = SecretStr("")
    payloads: Scope = "read"
