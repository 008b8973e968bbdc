"""The page in a browser, headless and without a network: all figures are there and nothing fails.

Mutations that were seen to fail this test: pictures of no content; a script that fails; tables that cannot be scrolled.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from s7rl.experiments.report.page import write_report
from tests.experiments.report.by_hand import TMAZE, begin, finish

CHROMIUM = shutil.which("chromium")
PHONE = 500
"""Pixels; Chromium's window gets no narrower."""
LOOK = """
<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  const seen = pictures.filter(its => its.complete && its.naturalWidth > 300 && its.clientWidth > 300).length;
  const loaded = performance.getEntriesByType("resource").filter(its => !its.name.startsWith("data:")).length;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.title = `seen ${seen} of ${pictures.length}, loaded ${loaded}, too wide by ${wide}`;
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; on Debian: apt install chromium")
def test_a_browser_shows_every_figure_and_complains_of_nothing(tmp_path: Path) -> None:
    folder = begin(tmp_path / "grid", tasks={"a-maze-with-quite-a-long-name": TMAZE, "maze": TMAZE})
    for task in folder.grid().tasks:
        for agent, score in {"s7": 1.0, "none": 0.5, "stack": 0.25}.items():
            finish(folder, task, agent, [score, 0.5, score])
    page = write_report(folder.path)
    page.write_text(page.read_text(encoding="utf-8") + LOOK, encoding="utf-8")
    figures = len(list((folder.path / "report").glob("*.png")))
    assert figures == 8
    title, complaints = look_at(page, tmp_path / "profile")
    assert title == f"seen {figures} of {figures}, loaded 0, too wide by 0"
    assert complaints == []


def look_at(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The title that a page has in the end, and what the browser's console said meanwhile."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += ["--enable-logging=stderr", f"--user-data-dir={profile}", f"--window-size={PHONE},900"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", "--dump-dom"]
    run = subprocess.run(
        [str(CHROMIUM), *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    title = re.search(r"<title>(.*?)</title>", run.stdout)
    assert title, run.stdout[:1000] + run.stderr
    return title[1], [line for line in run.stderr.splitlines() if ":CONSOLE" in line]
