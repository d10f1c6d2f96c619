"""Login with an API key: what the cookie is, when it ends, and who may do what."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, KEYS, PagesWith
from taskflow.api.keys import append_key, digest_of
from taskflow.client import Client
from taskflow.config.keys import KeyRecord
from taskflow.dashboard import frame, visitor

SECRET = {"dashboard__secret": "shared"}
SESSION = visitor.SESSION_COOKIE


async def test_without_a_login_every_page_leads_to_it_and_back(pages_with: PagesWith) -> None:
    async with pages_with(**GUARDED) as one:
        asked = await one.get("/servers?a=1")
        assert (asked.status_code, asked.headers["location"]) == (303, "/login?to=%2Fservers%3Fa%3D1")

        answer = await one.post("/login", {"key": KEYS["ada"], "to": "/servers?a=1"}, page="/login")

        assert (answer.status_code, answer.headers["location"]) == (303, "/servers?a=1")
        assert (await one.get("/servers")).status_code == 200


async def test_the_cookie_is_for_this_site_alone_and_holds_no_key(pages_with: PagesWith) -> None:
    async with pages_with(**GUARDED) as one:
        cookie = (await one.login("ada")).headers["set-cookie"]

    assert cookie.startswith(f"{SESSION}=ada~")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert KEYS["ada"] not in cookie
    assert digest_of(KEYS["ada"]).removeprefix("sha256:") not in cookie


async def test_the_cookie_of_a_page_that_came_by_https_goes_by_https_alone(pages_with: PagesWith) -> None:
    async with pages_with(server__http__trusted_proxies="127.0.0.1", **GUARDED) as one:
        one.http.headers["X-Forwarded-Proto"] = "https"
        token = await one.token("/login")
        cookies = {each.name: each.value for each in one.http.cookies.jar}
        answer = await one.http.post(
            "/login",
            data={"token": token, "key": KEYS["ada"]},
            headers={"Cookie": f"{visitor.VISIT_COOKIE}={cookies[visitor.VISIT_COOKIE]}"},
        )

    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/login", "/\n/x"]
)
async def test_a_login_leads_to_no_other_site(pages_with: PagesWith, to: str) -> None:
    async with pages_with(**GUARDED) as one:
        answer = await one.post("/login", {"key": KEYS["ada"], "to": to}, page="/login")

    assert answer.headers["location"] == "/"


async def test_a_wrong_key_is_told_and_counted(pages_with: PagesWith) -> None:
    async with pages_with(api__rate_limit__failures="2/h", **GUARDED) as one:
        with capture_logs() as logs:
            answers = [await one.post("/login", {"key": "wrong"}, page="/login") for _ in range(3)]
        right = await one.login("ada")
        api = await one.get("/api/v1/queues", headers={"Authorization": "Bearer wrong"})

    assert [each.status_code for each in answers] == [403, 403, 429]
    assert "No API key is like this one" in answers[0].text
    assert (right.status_code, api.status_code) == (429, 429)
    assert [line["event"] for line in logs if line["event"] != "request"] == ["login failed"] * 2


async def test_a_key_that_may_not_read_cannot_log_in(pages_with: PagesWith) -> None:
    keys = [{"name": "maker", "digest": digest_of("k"), "scopes": ["write"]}]
    async with pages_with(api__auth__keys=keys) as one:
        answer = await one.post("/login", {"key": "k"}, page="/login")

    assert answer.status_code == 403
    assert "may not read" in answer.text


async def test_every_process_with_the_same_keys_knows_a_login(pages_with: PagesWith) -> None:
    async with pages_with("ada", **GUARDED) as one, pages_with(**GUARDED) as other:
        other.http.cookies = one.http.cookies

        assert (await other.get("/")).status_code == 200


async def test_a_login_is_of_no_use_where_the_secret_is_another(pages_with: PagesWith) -> None:
    async with pages_with("ada", **GUARDED) as one, pages_with(**GUARDED, **SECRET) as other:
        other.http.cookies = one.http.cookies

        assert (await other.get("/")).status_code == 303


@pytest.mark.parametrize("part", range(4))
async def test_a_login_that_was_tampered_with_is_none(pages_with: PagesWith, part: int) -> None:
    async with pages_with("vera", **GUARDED) as one:
        parts = one.http.cookies[SESSION].split("~")
        parts[part] = {0: "ada", 1: str(int(time.time()) + 9999)}.get(part, parts[part][:-2] + "AA")
        one.http.cookies.clear()
        one.http.cookies[SESSION] = "~".join(parts)

        assert (await one.get("/")).status_code == 303


@pytest.mark.parametrize("value", ["", "~~~", "ada", "ada~x~n~s", "ä~1~2~3", "ada~9" * 500])
async def test_nonsense_in_the_cookie_is_no_login(pages_with: PagesWith, value: str) -> None:
    async with pages_with(**GUARDED) as one:
        answer = await one.get("/", headers={b"Cookie": f"{SESSION}={value}".encode()})

    assert answer.status_code == 303


async def test_a_login_ends_with_its_key(
    pages_with: PagesWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    append_key(file, KeyRecord(name="ada", digest=SecretStr(digest_of(KEYS["ada"])), scopes=("admin",)))
    monkeypatch.setattr("taskflow.api.keys.CHECK_SECONDS", 0)
    async with pages_with("ada", api__auth__key_file=str(file)) as one:
        assert (await one.get("/")).status_code == 200

        file.write_text(file.read_text().replace(digest_of(KEYS["ada"]), digest_of("another key of the same name")))

        assert (await one.get("/")).status_code == 303


async def test_a_login_lasts_while_it_is_used(pages_with: PagesWith, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003 - as datetime has it
            return now

    async with pages_with("ada", dashboard__session="1h", **GUARDED) as one:
        began = one.http.cookies[SESSION]
        for module in (frame, visitor):
            monkeypatch.setattr(module, "datetime", Later)

        now += timedelta(minutes=20)
        await one.get("/")
        assert one.http.cookies[SESSION] == began
        now += timedelta(minutes=20)
        await one.get("/")
        renewed = one.http.cookies[SESSION]
        assert renewed != began
        assert renewed.split("~")[2] == began.split("~")[2]
        now += timedelta(minutes=50)
        assert (await one.get("/")).status_code == 200
        now += timedelta(minutes=61)
        assert (await one.get("/")).status_code == 303


async def test_logout_ends_it_in_this_browser(pages_with: PagesWith) -> None:
    async with pages_with("vera", **GUARDED) as one:
        answer = await one.post("/logout")

        assert answer.headers["location"] == "/login"
        assert SESSION not in one.http.cookies
        assert (await one.get("/")).status_code == 303


async def test_the_cookie_opens_no_door_of_the_api(pages_with: PagesWith) -> None:
    async with pages_with("ada", **GUARDED) as one:
        assert (await one.get("/api/v1/queues")).status_code == 401
        assert (await one.get("/metrics", headers={"Accept": "*/*"})).status_code == 401


async def test_a_key_in_a_header_opens_no_page(pages_with: PagesWith) -> None:
    async with pages_with(**GUARDED) as one:
        assert (await one.get("/", headers={"X-API-Key": KEYS["ada"]})).status_code == 303


@pytest.mark.parametrize(
    ("name", "role"), [("ada", "admin"), ("otto", "operator"), ("vera", "viewer"), ("lina", "operator")]
)
async def test_the_page_says_what_one_may_do(pages_with: PagesWith, name: str, role: str) -> None:
    async with pages_with(name, **GUARDED) as one:
        text = (await one.get("/")).text

    assert f'<span class="role role-{role}">{role}</span><span class="account-name">{name}</span>' in text


async def test_a_limited_key_sees_its_queues_and_no_page_about_all(pages_with: PagesWith, client: Client) -> None:
    await client.enqueue("demo", queue="low")
    await client.enqueue("demo", queue="secret")
    async with pages_with("lina", **GUARDED) as one:
        text = (await one.get("/")).text
        servers = await one.get("/servers")

    assert "low" in text
    assert "secret" not in text
    assert 'href="/servers"' not in text
    assert servers.status_code == 403
    assert "limited to some queues" in servers.text


async def test_requests_count_for_the_key(pages_with: PagesWith) -> None:
    with capture_logs() as logs:
        async with pages_with("ada", **GUARDED) as one:
            await one.post("/logout")

    known = [(line["event"], line["key"]) for line in logs if line["event"] in {"logged in", "logged out"}]
    assert known == [("logged in", None), ("logged out", "ada")]


async def test_who_comes_from_another_site_is_asked_again_by_the_browser_before_he_has_to_log_in(
    pages_with: PagesWith,
) -> None:
    """A browser does not send a strict cookie when a link on another site is followed."""
    async with pages_with(**GUARDED) as one:
        answer = await one.get("/servers", headers={"Sec-Fetch-Site": "cross-site"})
        again = await one.get("/servers", headers={"Sec-Fetch-Site": "same-origin"})

    assert (answer.status_code, again.status_code) == (200, 303)
    assert '<meta http-equiv="refresh" content="0">' in answer.text
