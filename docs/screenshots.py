"""Takes the README's pictures from the running demo: `python docs/screenshots.py DAGSTER_URL FOLDER`.

Pictures in the docs are of the product as it runs, never drawn by hand. Needs Chromium (`/usr/bin/chromium`, or the
path in CHROMIUM) and the packages of the `dev` extra.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PAGES = {
    "asset-graph": "/locations/__repository__@darkroom/asset-groups/images/lineage",
    "recognition-graph": "/locations/__repository__@darkroom/asset-groups/recognition/lineage",
    "model-checks": "/assets/recognition/digit_classifier?view=checks",
    "asset-columns": "/assets/images/processed_images",
    "asset-quarantine": "/assets/images/quarantined_images?view=events",
    "asset-checks": "/assets/images/raw_images?view=checks",
    "sensor-ticks": "/locations/darkroom/sensors/kafka_offsets",
}


def take(page: Page, url: str, folder: Path) -> None:
    """Save one PNG a page of `PAGES` in `folder`."""
    for name, path in PAGES.items():
        page.goto(url + path, wait_until="domcontentloaded")
        # Dagster's pages go on polling, so "network idle" never comes; the graph lays itself out in a worker.
        page.wait_for_timeout(9000)
        target = folder / f"{name}.png"
        page.screenshot(path=str(target))
        print(target)


def main() -> None:
    """Open Chromium without a window and take every picture."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python docs/screenshots.py DAGSTER_URL FOLDER")
    url, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        take(page, url, folder)
        browser.close()


if __name__ == "__main__":
    main()
