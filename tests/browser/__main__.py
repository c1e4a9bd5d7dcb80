"""`make report-test`: reports of a run and a sweep, opened in headless Chromium.

No console message, every figure drawn with marks, the slider moves, dark is dark, paper is white,
and without JavaScript the still pictures are there. Chromium comes from Debian's package where the
machine has none and the user may install; otherwise the test is left out, in one sentence.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from qlrjax import cli

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome")
TINY = "--resolution 64 --train-per-class 12 --test-per-class 4 --replays 30 --no-contrast"
SWEEP = """
title = "Bits and replays"
seeds = 2
[settings]
resolution = 64
evaluate_every = 20
[settings.stream]
train_per_class = 12
test_per_class = 4
[grid]
bits = [8, 5]
replays = [20, 40]
"""
RUN_FIGURES = 8
SWEEP_FIGURES = 4
# Moves the slider once all figures are drawn, as a user would.
MOVE = """<script>setTimeout(function () {
  var slider = document.querySelector('input[type=range]');
  slider.value = 1;
  slider.dispatchEvent(new Event('input'));
}, 4000);</script></body>"""
SECONDS = 120


def chromium() -> str | None:
    """The browser's program, installed first where that is possible."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("installing Debian's chromium", flush=True)
        for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["apt-get", "-qq", *words], timeout=300, capture_output=True)
        found = shutil.which("chromium")
    return found


def browse(browser: str, words: Sequence[str], page: Path) -> subprocess.CompletedProcess[str]:
    """One call of the browser, cut off from any network."""
    with tempfile.TemporaryDirectory() as profile:
        fixed = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--virtual-time-budget=15000"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
        ]
        return subprocess.run(
            [browser, *fixed, *words, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


class Figures(HTMLParser):
    """Counts the marks that were drawn in every figure, and reads the charts' titles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.marks: dict[str, int] = {}
        self.drawn: set[str] = set()
        self.titles: dict[str, str] = {}
        self._figure, self._depth, self._in_chart = "", 0, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of HTMLParser."""
        found = {name: value or "" for name, value in attrs}
        if tag == "figure":
            self._figure = found["data-figure"]
            self.marks[self._figure] = 0
            if "js" in found.get("class", "").split():
                self.drawn.add(self._figure)
        elif tag == "div" and "chart" in found.get("class", "").split():
            self._in_chart = True
        elif tag == "noscript":
            self._in_chart = False
        elif self._in_chart and found.get("role") == "graphics-symbol":
            kind = found.get("aria-roledescription", "")
            if kind not in ("axis", "legend", "header", "title"):
                self.marks[self._figure] += 1

    def handle_data(self, data: str) -> None:
        """Of HTMLParser."""
        if self._in_chart and data.startswith("after event"):
            self.titles[self._figure] = data


def check(is_so: bool, sentence: str) -> None:
    """Stops the test where something is not so."""
    if not is_so:
        raise SystemExit(f"report-test: {sentence}")


def dump(browser: str, page: Path) -> Figures:
    """The page as the browser has made it; no message may be on its console."""
    done = browse(browser, ["--dump-dom"], page)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    check(not said, f"{page.name} wrote to the console: {said[:3]}")
    return Figures(done.stdout)


def look(browser: str, page: Path, name: str, *words: str) -> np.ndarray:
    """A picture of the page, kept to be looked at: float[h, w], 0 black to 1 white."""
    path = PICTURES / f"{name}.png"
    path.unlink(missing_ok=True)
    browse(browser, [f"--screenshot={path}", "--window-size=1240,3200", *words], page)
    check(path.is_file(), f"there is no screenshot of {page.name}")
    return np.asarray(Image.open(path).convert("L"), np.float32) / 255


def without_scripts(page: Path) -> Path:
    """The page as a browser without JavaScript takes it: headless Chromium itself needs it."""
    text = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)
    path = page.with_name(f"{page.stem}-still.html")
    path.write_text(re.sub(r"</?noscript>", "", text))
    return path


def command(line: str) -> None:
    """One command of qlrjax, which must go well."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(line.split())
    check(code == 0, f"qlrjax {line}: {said.getvalue()}")


def check_page(browser: str, page: Path, figures: int) -> None:
    """Everything about one report."""
    found = dump(browser, page)
    check(len(found.marks) == figures, f"{page.name} has {len(found.marks)} figures")
    check(found.drawn == set(found.marks), f"not drawn: {set(found.marks) - found.drawn}")
    for name, marks in found.marks.items():
        check(marks > 0, f"figure {name} of {page.name} has no marks")
    light = look(browser, page, f"{page.stem}-light", "--blink-settings=preferredColorScheme=1")
    dark = look(browser, page, f"{page.stem}-dark", "--blink-settings=preferredColorScheme=0")
    check(light.mean() > 0.8 > 0.4 > dark.mean(), "light is not light, or dark is not dark")
    still = look(browser, without_scripts(page), f"{page.stem}-still")
    inked = [(np.abs(picture - picture[5, 5]) > 0.2).mean() for picture in (light, still)]
    check(0.5 < inked[1] / inked[0] < 2, "without JavaScript the page shows something else")
    path = PICTURES / f"{page.stem}.pdf"
    browse(browser, [f"--print-to-pdf={path}", "--no-pdf-header-footer"], page)
    check(path.is_file() and path.read_bytes()[:5] == b"%PDF-", "it cannot be printed")
    print(f"{page.name}: {sum(found.marks.values())} marks in {figures} figures", flush=True)


def main() -> int:
    """Makes the reports, opens them, looks."""
    browser = chromium()
    if browser is None:
        print("report-test is left out: there is no Chromium, and none could be installed")
        return 0
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "sweep.toml").write_text(SWEEP)
        command(f"run --out {folder}/run {TINY}")
        command(f"sweep {folder}/sweep.toml --out {folder}/sweep --workers 1")
        for name, figures in (("run", RUN_FIGURES), ("sweep", SWEEP_FIGURES)):
            page = PICTURES / f"{name}.html"
            command(f"report {folder}/{name} --out {page}")
            check_page(browser, page, figures)
        moved = PICTURES / "moved.html"
        before, _, after = (PICTURES / "run.html").read_text().rpartition("</body>")
        moved.write_text(before + MOVE + after)
        titles = [dump(browser, page).titles for page in (PICTURES / "run.html", moved)]
        numbers = [re.search(r"\d+", title.get("confusion", "")) for title in titles]
        check(all(numbers), f"the confusion matrix does not say its event: {titles}")
        last, first = (int(number[0]) for number in numbers if number)
        check((first, last) == (1, 39), f"the slider went from event {last} to {first}")
    print(f"pictures to look at: {PICTURES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
