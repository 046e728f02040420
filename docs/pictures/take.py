"""Take the pictures of README and docs from a running demo, in headless Chromium.

Start `make demo` in another terminal, then:

    pip install playwright        # drives Debian's chromium; nothing else is downloaded
    python docs/pictures/take.py  # [URL of Dagster, default http://127.0.0.1:3000]
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_HERE = Path(__file__).parent
_LAYOUT = 8_000  # milliseconds: the graph is laid out in a worker that says nothing when it is done
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main(url: str) -> None:
    """Take every picture."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        _lineage(page, url)
        _view(page, f"{url}/assets/aurora/payments?view=partitions", "partitions.png", "2026-")
        _view(page, f"{url}/assets/aurora/payments?view=checks", "checks.png", "content_digest")
        browser.close()


def _lineage(page: Page, url: str) -> None:
    """Open all groups of the lineage view by its shortcut; loaded again, it fits the window."""
    page.goto(f"{url}/asset-groups")
    page.wait_for_timeout(_LAYOUT)
    page.mouse.click(1_000, 1_300)
    page.keyboard.press("Alt+KeyE")
    page.wait_for_timeout(_LAYOUT)
    page.reload()
    page.wait_for_timeout(_LAYOUT)
    page.screenshot(path=_HERE / "lineage.png")


def _view(page: Page, url: str, name: str, text: str) -> None:
    page.goto(url)
    page.locator(f"text={text} >> visible=true").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=_HERE / name)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
