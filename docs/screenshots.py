"""Takes the README's pictures from the running demo: `python docs/screenshots.py HOME FOLDER`.

Pictures in the docs are of the product as it runs, never drawn by hand. It signs in as people of the demo, whose
passwords lie in HOME. Needs Chromium (`/usr/bin/chromium`, or the path in CHROMIUM) and the packages of the extra
`dev`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from cli.demo_people import ADMINISTRATOR, passwords_file
from stack.status import describe

VIEWER = "anna"
PAGES = {
    "asset-graph": "/locations/__repository__@darkroom/asset-groups/images/lineage",
    "recognition-graph": "/locations/__repository__@darkroom/asset-groups/recognition/lineage",
    "model-checks": "/assets/recognition/digit_classifier?view=checks",
    "asset-columns": "/assets/images/processed_images",
    "asset-quarantine": "/assets/images/quarantined_images?view=events",
    "asset-checks": "/assets/images/raw_images?view=checks",
    "sensor-ticks": "/locations/darkroom/sensors/kafka_offsets",
}


def signed_in(browser: Browser, dagster: str, name: str, password: str, picture: Path | None = None) -> Page:
    """A window of somebody who has signed in; with `picture`, one of the page where they did."""
    page = browser.new_context(viewport={"width": 1600, "height": 900}, ignore_https_errors=True).new_page()
    page.goto(f"{dagster}/assets")
    page.fill("#name", name)
    if picture is not None:
        page.screenshot(path=str(picture), clip={"x": 400, "y": 200, "width": 800, "height": 500})
        print(picture)
    page.fill("#password", password)
    page.click("button")
    page.wait_for_url("**/dagster/assets")
    return page


def take(page: Page, url: str, target: Path) -> None:
    """Save one PNG of a page."""
    page.goto(url, wait_until="domcontentloaded")
    # Dagster's pages go on polling, so "network idle" never comes; the graph lays itself out in a worker.
    page.wait_for_timeout(9000)
    page.screenshot(path=str(target))
    print(target)


def main() -> None:
    """Open Chromium without a window and take every picture."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python docs/screenshots.py HOME FOLDER")
    home, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    passwords, dagster = json.loads(passwords_file(home).read_text()), describe(home)["dagster"]["url"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = signed_in(browser, dagster, ADMINISTRATOR, passwords[ADMINISTRATOR], folder / "sign-in.png")
        for name, path in PAGES.items():
            take(page, dagster + path, folder / f"{name}.png")
        viewer = signed_in(browser, dagster, VIEWER, passwords[VIEWER])
        viewer.goto(dagster + PAGES["asset-columns"], wait_until="domcontentloaded")
        viewer.get_by_role("button", name="Materialize").first.hover(timeout=30_000, force=True)
        viewer.wait_for_timeout(3000)
        viewer.screenshot(path=str(folder / "viewer.png"))
        browser.close()


if __name__ == "__main__":
    main()
