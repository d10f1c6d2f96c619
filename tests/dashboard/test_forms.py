"""Forms are believed only if they come from the dashboard's own pages and belong to the visitor."""

from __future__ import annotations

import pytest

from dashboard.conftest import GUARDED, KEYS, Pages, PagesWith

OWN = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": OWN},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize("guarded", [False, True])
async def test_a_form_of_another_site_is_refused(pages_with: PagesWith, headers: dict[str, str], guarded: bool) -> None:
    async with pages_with("ada" if guarded else None, **(GUARDED if guarded else {})) as one:
        token = await one.token()
        answer = await one.http.post("/logout", data={"token": token}, headers=headers)

    assert answer.status_code == 403


async def test_a_site_that_may_call_the_api_may_send_no_forms(pages_with: PagesWith) -> None:
    async with pages_with("ada", api__cors__allow_origins="*", **GUARDED) as one:
        answer = await one.post("/logout", headers={"Origin": "https://app.example"})

    assert answer.status_code == 403


@pytest.mark.parametrize("token", ["", "x", "ü"])
async def test_a_form_without_the_visitors_token_is_refused(pages_with: PagesWith, token: str) -> None:
    async with pages_with("ada", **GUARDED) as one:
        answer = await one.post("/logout", {"token": token}, headers={"Origin": OWN, "Sec-Fetch-Site": "same-origin"})

    assert answer.status_code == 403
    assert "out of date" in answer.text


async def test_a_token_is_one_logins_alone(pages_with: PagesWith) -> None:
    async with pages_with("ada", **GUARDED) as one, pages_with("ada", **GUARDED) as other:
        answer = await other.http.post("/logout", data={"token": await one.token()})

    assert answer.status_code == 403


async def test_without_keys_a_token_is_one_browsers_alone(pages: Pages, pages_with: PagesWith) -> None:
    async with pages_with() as other:
        assert (await pages.post("/logout")).status_code == 303
        answer = await other.http.post("/logout", data={"token": await pages.token()})

    assert answer.status_code == 403


async def test_the_login_itself_wants_a_token(pages_with: PagesWith) -> None:
    """Otherwise another site could log a visitor in with a key of its own."""
    async with pages_with(**GUARDED) as one:
        assert (await one.http.post("/login", data={"key": KEYS["ada"]})).status_code == 403


async def test_a_form_may_not_be_larger_than_any_body(pages_with: PagesWith) -> None:
    async with pages_with(server__http__body_limit=1000) as one:
        assert (await one.post("/logout", {"more": "x" * 1000})).status_code == 413
