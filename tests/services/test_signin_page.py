"""The page where people sign in: its cookie, its forms, and where it sends them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.signin.app import COOKIE
from services.signin.page import local_goal
from tests.services.signing_in import PASSWORD, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_page_signs_in_with_a_cookie_that_no_script_reads_and_shows_who_one_is(house: House) -> None:
    form = {"name": "ada", "password": PASSWORD, "next": "/runs"}
    # What browsers send with a form of a page whose policy is no-referrer.
    browser = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    shown, entered, page, left, after = house.ask(
        lambda c: c.get("/", params={"next": "/runs"}),
        lambda c: c.post("/signin", data=form, headers=browser),
        lambda c: c.get("/"),
        lambda c: c.post("/signout", headers=browser),
        lambda c: c.get("/"),
    )
    assert 'value="/runs"' in shown.text
    assert "<script" not in shown.text
    assert "script-src" not in shown.headers["content-security-policy"]
    assert (entered.status_code, entered.headers["location"]) == (303, "/runs")
    cookie = entered.headers["set-cookie"].lower()
    assert cookie.startswith(f"{COOKIE.lower()}=")
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "You are <strong>ada</strong>, in sales" in page.text
    assert left.status_code == 303
    assert "<strong>ada" not in after.text
    assert house.sessions.held == {}


def test_the_page_says_what_was_wrong_and_shows_what_was_typed_as_text(house: House) -> None:
    (answer,) = house.ask(
        lambda c: c.post(
            "/signin", data={"name": '"><script>alert(1)</script>', "password": "x", "next": "//evil.test"}
        )
    )
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert "<script" not in answer.text
    assert 'value="/"' in answer.text, "no other site is a goal"
    assert answer.text.count("x") and 'value="x"' not in answer.text, "no password comes back"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
def test_a_form_of_another_site_is_not_taken(house: House, headers: dict[str, str]) -> None:
    form = {"name": "ada", "password": PASSWORD}
    answers = house.ask(
        lambda c: c.post("/signin", data=form, headers=headers), lambda c: c.post("/signout", headers=headers)
    )
    assert [one.status_code for one in answers] == [403, 403]
    assert house.sessions.held == {}


@pytest.mark.parametrize(
    ("asked", "goal"),
    [
        ("/runs?x=1#y", "/runs?x=1#y"),
        (None, "/"),
        ("", "/"),
        ("https://evil.test", "/"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("/a\\b", "/"),
        ("/\tx", "/"),
        ("javascript:alert(1)", "/"),
        ("/ü", "/"),
    ],
)
def test_the_goal_is_a_path_of_this_site(asked: str | None, goal: str) -> None:
    assert local_goal(asked) == goal
