"""What a person sees in Dagster's UI, in a real browser on the running stack.

Skips where there is no Chromium; `make test` installs it with apt as root on Debian. CHROMIUM names another one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from cli.settle import wait_until_settled
from tests.live_stack import LiveStack
from tests.system.history import png

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium: install it (Debian: apt install chromium), or set CHROMIUM"
    ),
]

SECONDS = 60_000
"""Playwright's patience in milliseconds; Dagster's UI is large and the machine may be busy."""


@pytest.fixture(scope="module")
def developed(stack: LiveStack) -> LiveStack:
    """The stack after at least one image went all the way."""
    import ssl

    with httpx.Client(verify=ssl.create_default_context(cafile=stack.ca), timeout=60) as client:
        answer = client.post(
            f"{stack.url}/v1/images",
            content=png(9_000_001),
            headers={"Authorization": f"Bearer {stack.token()}"},
        )
    assert answer.status_code == 201, answer.text
    wait_until_settled(stack.settings("operator"), stack.dagster(), 180)
    return stack


@pytest.fixture(scope="module")
def browser_page(developed: LiveStack) -> Iterator[Page]:
    """One window, whose console errors are kept."""
    with sync_playwright() as playwright, developed.person("analytics") as (name, password):
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        # The browser does not know the stack's authority; that the certificate is right other tests show.
        context = browser.new_context(
            viewport={"width": 1600, "height": 900}, ignore_https_errors=True, base_url=developed.url
        )
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"{developed.dagster_url}/assets")
        page.fill("#name", name)
        page.fill("#password", password)
        page.click("button")
        page.wait_for_url("**/dagster/assets")
        expect.set_options(timeout=SECONDS)
        yield page
        browser.close()


def test_the_graph_shows_every_asset_of_the_images(browser_page: Page, tmp_path: Path) -> None:
    # The graph of all assets shows its groups folded.
    browser_page.goto(
        "/dagster/locations/__repository__@darkroom/asset-groups/images/lineage", wait_until="domcontentloaded"
    )
    for name in ("raw_image_stream", "raw_images", "processed_images", "quarantined_images", "daily_uploads"):
        expect(browser_page.get_by_text(name, exact=True).first).to_be_visible()
    browser_page.screenshot(path=str(tmp_path / "graph.png"))
    assert (tmp_path / "graph.png").stat().st_size > 20_000, "the picture of the graph is all but empty"


def test_an_asset_shows_its_description_its_columns_and_when_it_was_made(browser_page: Page) -> None:
    browser_page.goto("/dagster/assets/images/processed_images", wait_until="domcontentloaded")
    expect(browser_page.get_by_text("Silver: valid images developed").first).to_be_visible()
    expect(browser_page.get_by_text("perceptual_hash").first).to_be_visible()
    expect(browser_page.get_by_text("Latest materialization").first).to_be_visible()


def test_a_blocking_check_shows_that_it_passed(browser_page: Page) -> None:
    browser_page.goto("/dagster/assets/images/raw_images?view=checks", wait_until="domcontentloaded")
    expect(browser_page.get_by_text("holds_what_the_broker_held").first).to_be_visible()
    expect(browser_page.get_by_text("Passed").first).to_be_visible()


def test_the_sensor_is_on_and_its_ticks_are_there(browser_page: Page) -> None:
    browser_page.goto("/dagster/automation", wait_until="domcontentloaded")
    for name in ("kafka_offsets", "run_failures", "hourly_upkeep"):
        expect(browser_page.get_by_text(name, exact=True).first).to_be_visible()
    browser_page.goto("/dagster/locations/darkroom/sensors/kafka_offsets", wait_until="domcontentloaded")
    rows = browser_page.get_by_role("row")
    expect(rows.filter(has_text="Asks for one run of the live lane")).to_be_visible()
    expect(rows.filter(has_text="Running").get_by_role("checkbox")).to_be_checked()
    # A tick's own row, with what it asked for; the row "Latest tick" above has no log.
    ticks = rows.filter(has_text="View logs").filter(has_text=re.compile(r"\d runs? requested"))
    expect(ticks.first).to_be_visible()
    expect(ticks.first).to_have_text(re.compile(r'"version":1'))
