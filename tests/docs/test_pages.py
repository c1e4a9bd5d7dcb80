"""The pages of docs/ do what they say: their files are written, their commands and scripts run."""

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qlrjax import cli

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)


def carry_out(page):
    """Runs a page in the working folder; returns what its commands printed, command by command."""
    printed = {}
    for language, title, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if title:
            Path(title).write_text(text, encoding="utf-8")
        if language == "python":
            done = subprocess.run([sys.executable, title], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            printed[title] = done.stdout
        elif language == "bash":
            for line in text.splitlines():
                printed[line] = command(line)
    return printed


def command(line):
    words = shlex.split(line, comments=True)
    assert words[0] == "qlrjax", f"blocks marked bash hold qlrjax commands only, not {line!r}"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words[1:])
    assert code == 0, f"{line}\n{err.getvalue()}"
    return out.getvalue()


@pytest.mark.long
def test_tutorial_and_export(tmp_path, monkeypatch):
    """`export.md` goes on with the tutorial's run."""
    monkeypatch.chdir(tmp_path)
    printed = carry_out("tutorial.md")
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["accuracy_percent"] > 60  # chance is 33.3
    assert "tile" in printed["qlrjax predict run later/s3/tile/0.png"].splitlines()[0]
    assert "floor-tile" not in command("qlrjax classes run")
    assert printed["ask.py"].endswith("6 replays need no second preparation\n")
    assert float(printed["ask.py"].splitlines()[-2].split()[-1]) > 0.6

    carry_out("export.md")
    assert Path("stage.onnx").stat().st_size > 1_000_000
    assert Path("stage-qdq.onnx").stat().st_size > 1_000_000
    assert Path("stage.npz").exists()
    for folder in ("firmware", "c"):
        assert {"SIZES.md", "Makefile", "src"} <= {path.name for path in Path(folder).iterdir()}
    assert ": class 1, logit" in exported_learner()  # of ball, box, plate, tile
    moved, original = (
        command("qlrjax predict run-elsewhere photos/s3/box/0.png"),
        command("qlrjax predict run photos/s3/box/0.png"),
    )
    assert moved == original


@pytest.mark.long
def test_lab(tmp_path, monkeypatch):
    """From a sweep file to a Pareto picture and a report."""
    pytest.importorskip("vl_convert", reason="the extra 'report' is not installed")
    monkeypatch.chdir(tmp_path)
    printed = carry_out("lab.md")
    assert printed["qlrjax sweep sweep.toml --out sweep --missing"].startswith("0 sessions")
    assert "recommended: layer 2" in next(text for line, text in printed.items() if "plan" in line)
    assert Path("plan.png").read_bytes().startswith(b"\x89PNG")
    assert Path("report.html").stat().st_size > 500_000


def exported_learner():
    """The page's shell block: builds the exported C and asks it; what it prints."""
    if shutil.which("cc") is None or shutil.which("make") is None:
        pytest.skip("needs make and a C compiler")
    text = (DOCS / "export.md").read_text(encoding="utf-8")
    script = re.search(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert script
    lines = script[1].replace("python ", f"{shlex.quote(sys.executable)} ")
    done = subprocess.run(["sh", "-ec", lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_adding_a_chip(tmp_path, monkeypatch):
    """One file; half the cores at half the clock take between two and four times as long."""
    monkeypatch.chdir(tmp_path)
    printed = carry_out("adding-a-chip.md")
    assert [path.name for path in tmp_path.iterdir()] == ["half.toml"]
    assert all("half" in text for text in printed.values())
    words = "--latent-layer 27 --statistics running --json"
    half, vega = (
        json.loads(command(f"qlrjax hw event --platform {name} {words}"))["summary"]
        for name in ("half.toml", "vega")
    )
    assert 2 < half["training_s"] / vega["training_s"] < 4.5
    assert 2 < half["frozen_s"] / vega["frozen_s"] < 4.5
    watts = tomllib.loads(Path("half.toml").read_text())["power"]["active_watts"]["value"]
    assert half["chip_J"] == pytest.approx(watts * half["event_s"], rel=0.01)


@pytest.mark.long
def test_adding_a_strategy(tmp_path, monkeypatch):
    """Experience replay: a file of the user's own, and every class keeps as many latents."""
    monkeypatch.chdir(tmp_path)
    lines = carry_out("adding-a-strategy.md")["learn.py"].splitlines()
    assert lines[-2] == "replays of each class: [5, 5, 5, 5, 5, 5]"
    assert re.fullmatch(r"\d+ events; strategy: Strategy\(admission=Greedy\(\)\)", lines[-1])


@pytest.mark.long
def test_adding_a_stream(tmp_path, monkeypatch):
    """Images that a script draws; chance is 12.5 %."""
    monkeypatch.chdir(tmp_path)
    lines = carry_out("adding-a-stream.md")["use.py"].splitlines()
    assert len(lines) == 1 + 14 + 1  # two classes in the first event, 2 * 8 - 2 pairs, the accuracy
    assert float(lines[-1].split()[0]) > 60


@pytest.mark.long
def test_networks(tmp_path, monkeypatch):
    """Cuts are listed, a built-in graph and one's own file are learned, exported and refused."""
    pytest.importorskip("onnx", reason="needs the extra qlrjax[onnx]")
    monkeypatch.chdir(tmp_path)
    printed = carry_out("networks.md")
    assert "b1/add" in printed["qlrjax network resnet8"]
    assert all(name in printed["qlrjax network mynet.onnx"] for name in ("stem", "pool", "sum"))
    for run in ("residual", "own"):
        summary = json.loads(Path(run, "summary.json").read_text())
        assert summary["accuracy_percent"] > 20  # chance is 10
    assert Path("own.onnx").stat().st_size > 5000


def test_every_page_of_the_site_is_written():
    """No page is a bare heading, and every page of docs/ is in the site's contents."""
    contents = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert len(text.split()) > 20 or ":::" in text, f"{path.name} says nothing"
        assert f"{path.relative_to(DOCS).as_posix()}\n" in contents, f"{path.name} is not linked"
