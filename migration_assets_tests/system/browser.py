"""Dagster's pages in a real browser, driven as a person drives them: for tests and for pictures.

Debian's Chromium is driven by Playwright, which downloads nothing. Everything waits for what a
person would wait for; when that stays away, picture and text of the page are kept and named.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, FloatRect, Locator, Page, sync_playwright

from migration_assets_tests.debian_postgres import MissingProgramError
from migration_assets_tests.system.waiting import until

CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT = 1300, 900
_PATIENCE = 60_000  # milliseconds that one thing may take to show on a busy machine
_RUN_PATIENCE = 180_000  # the daemon asks for queued runs every few seconds, then starts a process
_FLAGS = (
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it 64 MB
    # Without these Chromium calls its maker's hosts at every start.
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# What the graph shows: its group boxes, and per asset its group and colour. Nodes outside the
# window aren't in the page at all; colours come when the assets' states have been asked for.
_GRAPH = """() => {
  const boxes = [...document.querySelectorAll('foreignObject')].map(e => ({
    text: e.textContent, group: e.classList.contains('group'),
    x: +e.getAttribute('x'), y: +e.getAttribute('y'),
    w: +e.getAttribute('width'), h: +e.getAttribute('height'),
    r: e.getBoundingClientRect(),
    colour: (/--minimal-bg: var\\(--color-background-(\\w+)/.exec(e.innerHTML) || ['', ''])[1],
  })).filter(b => b.text);
  let view = document.querySelector('foreignObject').closest('svg').parentElement;
  while (getComputedStyle(view).overflow !== 'hidden') view = view.parentElement;
  const shown = view.getBoundingClientRect();
  const groups = boxes.filter(b => b.group);
  const inside = b => b.r.left >= shown.left && b.r.top >= shown.top
    && b.r.right <= shown.right && b.r.bottom <= shown.bottom;
  const holds = (g, b) => g.x <= b.x && b.x + b.w <= g.x + g.w
    && g.y <= b.y && b.y + b.h <= g.y + g.h;
  const edge = side => groups.map(g => g.r[side]);
  return {
    area: [Math.min(...edge('left')), Math.min(...edge('top')),
      Math.max(...edge('right')), Math.max(...edge('bottom'))],
    whole: groups.length > 0 && groups.every(inside),
    assets: boxes.filter(b => !b.group).map(b => [
      (groups.find(g => holds(g, b)) || {text: ''}).text + '/' + b.text, b.colour]),
  };
}"""
_KNOWN_STATES = {"green", "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dagster:
    """The pages of one running Dagster, in one browser window."""

    url: str
    page: Page
    complaints: list[str] = field(default_factory=list)  # what the browser's console called errors

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Do one thing; when it fails, keep what the page showed and say where."""
        try:
            yield
        except (Error, AssertionError) as error:
            folder = Path(tempfile.mkdtemp(prefix="migration-assets-browser-"))
            self.page.screenshot(path=folder / "page.png")
            (folder / "page.txt").write_text(self.page.inner_text("body"))
            error.add_note(f"while: {what}; the page as it was lies in {folder}")
            raise

    def open_lineage(self) -> None:
        """Show the graph of all assets with every group opened, all of it in the window."""
        self.page.goto(f"{self.url}/asset-groups?expanded=none")
        self.page.locator("foreignObject").first.wait_for()
        names = sorted(set(self.page.locator("foreignObject").all_text_contents()) - {""})
        opened = ",".join(f"global@global:{name}" for name in names)
        self.page.goto(f"{self.url}/asset-groups?expanded={opened}")
        boxes = self.page.locator("foreignObject.group")
        until(lambda: boxes.count() == len(names), what=f"the groups {names} are open")
        until(self._zoom_out_once, what="the whole graph is in the window")

    def _zoom_out_once(self) -> bool:
        """Answer whether the whole graph is in the window; press the button once if not."""
        graph = self._still_graph()
        if graph and not graph["whole"]:
            self.page.get_by_label("zoom_out").click()
        return bool(graph and graph["whole"])

    def lineage(self) -> dict[str, str]:
        """Read the graph of all assets: their keys, as `group/name`, and their colours."""
        self.open_lineage()
        return until(self._coloured_assets, what="every asset is green or red")

    def graph_area(self, *, margin: int) -> FloatRect:
        """Return where in the window the opened graph stands."""
        left, top, right, bottom = self.page.evaluate(_GRAPH)["area"]
        return {
            "x": left - margin,
            "y": top - margin,
            "width": right - left + 2 * margin,
            "height": bottom - top + 2 * margin,
        }

    def _coloured_assets(self) -> dict[str, str]:
        """Read the assets; none while a colour is missing or something moves."""
        graph = self._still_graph()
        assets: dict[str, str] = dict(graph["assets"]) if graph else {}
        return assets if set(assets.values()) <= _KNOWN_STATES else {}

    def _still_graph(self) -> dict[str, Any] | None:
        """Read the graph in two frames; None while it moves or grows."""
        first = self.page.evaluate(_GRAPH)
        self.page.evaluate("() => new Promise(requestAnimationFrame)")
        return first if first == self.page.evaluate(_GRAPH) else None

    def open_partitions(self, asset: str, partition: str = "") -> None:
        """Open an asset's partitions, with one of them selected where it is named."""
        chosen = f"&partition={partition}" if partition else ""
        self.page.goto(f"{self.url}/assets/{asset}?view=partitions{chosen}")
        self._rows().first.wait_for()

    def partitions(self, asset: str) -> dict[str, str]:
        """Read an asset's partitions and the colour of each one's dot."""
        self.open_partitions(asset)
        return self._dots()

    def open_materialize(self, asset: str, partition: str) -> Locator:
        """Press Materialize with one partition selected, and return the dialog that opens."""
        self.open_partitions(asset, partition)
        self.page.get_by_role("button", name="Materialize…").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("1 partition", exact=True).wait_for()
        return dialog

    def materialize(self, asset: str, partition: str) -> str:
        """Press Materialize for one partition, confirm the dialog, and return the run."""
        dialog = self.open_materialize(asset, partition)
        assert dialog.locator(f'input[value="{partition}"]').count() == 1, dialog.inner_text()
        dialog.get_by_role("button", name="Launch 1 run").click()
        return self._launched()

    def open_checks(self, asset: str, check: str = "") -> None:
        """Open an asset's checks, with one of them shown where it is named."""
        chosen = f"&checkDetail={check}" if check else ""
        self.page.goto(f"{self.url}/assets/{asset}?view=checks{chosen}")
        self.page.get_by_role("button", name="Execute all").wait_for()
        self._rows().first.wait_for()

    def checks(self, asset: str) -> set[str]:
        """Read the names of an asset's checks."""
        self.open_checks(asset)
        return {text.splitlines()[0] for text in self._rows().all_inner_texts()}

    def latest_evaluation(self, asset: str, check: str) -> str:
        """Read how a check's latest evaluation ended, of whichever partition or of none."""
        self.open_checks(asset, check)
        said = self.page.get_by_text("Evaluation result", exact=True).locator("..")
        said.get_by_text(re.compile(r"^(Passed|Failed)$")).wait_for()
        return said.inner_text().splitlines()[-1]

    def open_check_partitions(self, asset: str, check: str, partition: str = "") -> None:
        """Open one check's partitions, with one of them selected where it is named."""
        self.open_checks(asset, check)
        self.page.get_by_role("tab", name="Partitions").last.click()
        rows = self._rows().filter(has_text=re.compile(r"\d{4}-\d\d-\d\d"))
        rows.first.wait_for()
        if partition:
            rows.filter(has_text=partition).click()

    def check_partitions(self, asset: str, check: str) -> dict[str, str]:
        """Read one check's partitions and the colour of each one's dot."""
        self.open_check_partitions(asset, check)
        return self._dots()

    def execute_checks(self, asset: str) -> str:
        """Press "Execute all" on an asset's checks, and return the run."""
        self.open_checks(asset)
        self.page.get_by_role("button", name="Execute all").click()
        return self._launched()

    def end_of_run(self, run: str) -> str:
        """Open a run's page and wait until it says how the run ended."""
        self.page.goto(f"{self.url}/runs/{run}")
        ended = self.page.get_by_text(re.compile(r"^(Success|Failure|Canceled)$")).first
        ended.wait_for(timeout=_RUN_PATIENCE)
        return ended.inner_text()

    def open_report(self) -> None:
        """Open the text of the newest weekly report."""
        self.page.goto(f"{self.url}/assets/migration_report")
        self.page.get_by_text("[Show Markdown]").click()
        self.page.get_by_role("dialog").get_by_role("heading", level=1).wait_for()

    def open_overview(self, asset: str) -> None:
        """Open what stands in an asset: its columns, their types and why."""
        self.page.goto(f"{self.url}/assets/{asset}?view=overview")
        self.page.get_by_text("Column name").wait_for()

    def open_catalog(self) -> None:
        """Open the list of all assets, with what each one's partitions are."""
        self.page.goto(f"{self.url}/assets")
        self.page.get_by_text(re.compile(r"^\d+ partitions$")).first.wait_for()
        unknown = self.page.get_by_text("- partitions", exact=True)
        until(lambda: unknown.count() == 0, what="every asset's partitions have been counted")

    def _launched(self) -> str:
        """Follow the message that a run was launched to the run's page, and return its id."""
        message = self.page.get_by_text(re.compile(r"Launched run [0-9a-f]{8}"))
        message.wait_for()
        self.page.get_by_text("View", exact=True).click()
        self.page.wait_for_url("**/runs/*-*")
        return self.page.url.rsplit("/", 1)[1].split("?")[0]

    def _rows(self) -> Locator:
        return self.page.locator("[class*=VirtualizedTable_row]")

    def _dots(self) -> dict[str, str]:
        """Read the rows that name a partition and have a coloured dot."""
        rows = self._rows().filter(has=self.page.locator("[style*='border-radius: 100%']"))
        found: dict[str, str] = {}
        for row in rows.all():
            style = row.locator("[style*='border-radius: 100%']").get_attribute("style") or ""
            colour = re.search(r"--color-accent-(\w+)", style)
            name = row.locator("[title]").first.get_attribute("title") or ""
            found[name] = colour[1] if colour else style
        return found


@contextmanager
def opened(
    url: str, *, width: int = WIDTH, height: int = HEIGHT, scale: float = 1
) -> Iterator[Dagster]:
    """Open a browser window on the Dagster at `url`; raises what to install where it is missing."""
    if not CHROMIUM.exists():
        raise MissingProgramError(f"{CHROMIUM} isn't there. On Debian: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        page = browser.new_page(
            viewport={"width": width, "height": height}, device_scale_factor=scale
        )
        page.set_default_timeout(_PATIENCE)
        dagster = Dagster(url=url, page=page)
        page.on("pageerror", lambda error: dagster.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                dagster.complaints.append(said.text) if said.type in ("error", "assert") else None
            ),
        )
        try:
            yield dagster
        finally:
            browser.close()
