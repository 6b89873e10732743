"""Sign-in on the running stack: people of its directory, tokens that its doors take, sessions in its PostgreSQL."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from playwright.sync_api import sync_playwright

from cli.hostile import sound_png
from resources.sessions import Sessions, SessionsAway
from stack.service_names import SIGNIN
from stack.state import stack_settings
from tests.live_stack import DARKROOM, LiveStack

pytestmark = pytest.mark.stack
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PASSWORD = "a-password-of-somebody"


@pytest.fixture
def client(stack: LiveStack) -> Iterator[httpx.Client]:
    """A client of sign-in that trusts the stack's authority."""
    with httpx.Client(base_url=stack.url, verify=ssl.create_default_context(cafile=stack.ca), timeout=40) as client:
        yield client


@pytest.fixture
def person(stack: LiveStack) -> Iterator[str]:
    """Somebody new, who may upload."""
    name = f"p-{uuid.uuid4().hex[:12]}"
    add(stack, name, "image-uploaders")
    yield name
    stack.run("people", "remove", name)


def add(stack: LiveStack, name: str, *groups: str) -> None:
    options = [part for group in groups for part in ("--group", group)]
    line = [str(DARKROOM), "--home", str(stack.home), "people", "add", name, "--password-stdin", *options]
    subprocess.run(line, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True, timeout=60)


def sign_in(client: httpx.Client, name: str) -> dict[str, object]:
    answer = client.post("/v1/session", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer.json()


def upload(stack: LiveStack, token: object, seed: int) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    verify = ssl.create_default_context(cafile=stack.ca)
    return httpx.post(f"{stack.url}/v1/images", content=sound_png(40, seed), headers=headers, verify=verify)


def test_a_person_of_the_directory_signs_in_and_uploads(stack: LiveStack, client: httpx.Client, person: str) -> None:
    told = sign_in(client, person)
    assert told["groups"] == ["image-uploaders"]
    assert upload(stack, told["token"], 41).status_code == 201
    line = [str(DARKROOM), "--home", str(stack.home), "signin", person, "--password-stdin"]
    printed = subprocess.run(line, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True, timeout=60).stdout
    assert upload(stack, printed.strip(), 42).status_code == 201
    wrong = subprocess.run(line, input="not it\n", text=True, check=False, capture_output=True, timeout=60)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "The name or the password is wrong." in wrong.stderr


def test_a_membership_that_is_taken_away_is_in_no_further_token(
    stack: LiveStack, client: httpx.Client, person: str
) -> None:
    told = sign_in(client, person)
    session = {"Authorization": f"Bearer {told['session']}"}
    stack.run("people", "groups", person)
    again = client.post("/v1/token", headers=session).json()
    assert (again["groups"], again["expires_in"]) == ([], 60)
    assert client.delete("/v1/session", headers=session).status_code == 204
    assert client.post("/v1/token", headers=session).status_code == 401


def test_a_killed_directory_lets_nobody_in_until_it_is_back_with_everybody(
    stack: LiveStack, client: httpx.Client, person: str
) -> None:
    told = sign_in(client, person)
    stack.kill("directory")
    seen = set()
    deadline = time.monotonic() + 60
    while True:
        answer = client.post("/v1/token", headers={"Authorization": f"Bearer {told['session']}"})
        seen.add(answer.status_code)
        if answer.status_code == 200 and 503 in seen:
            break
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    assert seen <= {200, 503}, "never 401: nobody is signed out for it"
    stack.wait_healthy("directory", "signin-1", "signin-2")


def test_its_database_holds_no_secret_and_its_identity_nothing_but_sessions(
    stack: LiveStack, client: httpx.Client, person: str
) -> None:
    secret = str(sign_in(client, person)["session"])
    with psycopg.connect(stack.settings("admin").postgres_dsn) as connection:
        rows = connection.execute("SELECT * FROM signin.sessions WHERE subject = %s", [person]).fetchall()
        assert len(rows) == 1
        assert secret not in str(rows)
        assert secret.encode() not in rows[0][0]
    with psycopg.connect(stack_settings(stack.home, "signin").postgres_dsn, autocommit=True) as connection:
        for table in ("images.image_status", "shop.items", "shop.members"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table}")
    for other in ("uploads", "dagster", "operator"):
        dsn = stack_settings(stack.home, other).postgres_dsn
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM signin.sessions")


def test_sessions_end_by_age_by_idleness_and_by_sign_out_everywhere(stack: LiveStack) -> None:
    dsn = stack_settings(stack.home, "signin").postgres_dsn
    lasting, short, idle = Sessions(dsn, 3600, 3600), Sessions(dsn, 1, 3600), Sessions(dsn, 3600, 1)
    name = f"p-{uuid.uuid4().hex[:12]}"
    kept, aged = lasting.begin(name), short.begin(name)
    assert (lasting.subject_of(kept), lasting.subject_of(aged)) == (name, name)
    assert [lasting.subject_of(wrong) for wrong in ("", "x", "x" * 10_000)] == [None, None, None]
    time.sleep(1.2)
    assert (short.subject_of(aged), idle.subject_of(kept), lasting.subject_of(kept)) == (None, None, name)
    assert lasting.end_all(name) >= 1
    assert lasting.subject_of(kept) is None
    for one in (lasting, short, idle):
        one.close()


def test_the_key_rotates_under_the_running_doors(stack: LiveStack, client: httpx.Client, person: str) -> None:
    before = sign_in(client, person)["token"]
    assert "retire" in stack.run("signing", "rotate").stdout
    after = sign_in(client, person)["token"]
    assert [upload(stack, token, seed).status_code for seed, token in ((43, before), (44, after))] == [201, 201]
    assert "would be refused" in stack.run("signing", "retire").stdout
    assert upload(stack, before, 43).status_code in (200, 201), "that was a dry run"
    stack.run("signing", "retire", "--yes")
    assert upload(stack, before, 43).status_code == 401
    assert upload(stack, after, 45).status_code == 201


def test_postgresql_that_is_away_is_said() -> None:
    gone = Sessions("host=127.0.0.1 port=1 dbname=platform", 60, 60, timeout_seconds=1)
    with pytest.raises(SessionsAway, match="Nobody can sign in or out"):
        gone.begin("ada")
    gone.close()


def test_it_takes_tls_alone_and_its_password_is_in_no_log(stack: LiveStack, client: httpx.Client, person: str) -> None:
    sign_in(client, person)
    with pytest.raises(httpx.HTTPError):
        httpx.get(str(client.base_url).replace("https", "http"), timeout=5)
    logs = "".join(path.read_text(errors="replace") for path in (stack.home / "logs").glob("*.log"))
    assert PASSWORD not in logs
    own = "".join((stack.home / "logs" / f"{name}.log").read_text() for name in (*SIGNIN, "gateway"))
    assert person not in own


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it (Debian: apt install chromium), or set CHROMIUM")
def test_a_person_signs_in_and_out_with_a_browser(stack: LiveStack, client: httpx.Client, person: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        # The browser does not know the stack's authority; that the certificate is right the other tests show.
        page = browser.new_context(ignore_https_errors=True).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(str(client.base_url))
        page.fill("#name", person)
        page.fill("#password", "not it")
        page.click("button")
        assert "The name or the password is wrong." in page.inner_text("main")
        page.fill("#password", PASSWORD)
        page.click("button")
        assert f"You are {person}, in image-uploaders." in page.inner_text("main")
        assert page.evaluate("document.cookie") == "", "no script reads it"
        page.click("button")
        assert page.is_visible("#password")
        browser.close()
    assert [one for one in said if "401" not in one] == [], "its policy lets its own page be"
