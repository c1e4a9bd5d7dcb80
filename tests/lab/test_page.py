"""The report: self-contained, every figure with a still picture, names that cannot break out."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from qlrjax import cli
from qlrjax.lab.page import assemble, learned
from qlrjax.lab.page.assemble import Figure, Section
from qlrjax.runs import run
from qlrjax.runs.history import Moment
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

pytest.importorskip("vl_convert", reason="the extra 'report' is not installed")

BASE = Settings(
    latent_layer=25,
    replays=12,
    weights="random:1:0.25",
    resolution=32,
    calibration_images=12,
    stream=StreamSettings(data="synthetic:3x4x6", first_classes=2),
    protocol=Protocol(minibatch=8),
)
FIGURES_OF_A_RUN = {
    *("curves", "heat", "confusion", "replays", "memory", "lifetime", "seconds", "joules"),
}


@pytest.fixture(autouse=True, scope="module")
def no_bundle():
    """Vega's code takes seconds to put together; the browser test has the real one."""
    patch = pytest.MonkeyPatch()
    patch.setattr(assemble, "bundle", lambda: "/* bundle */")
    yield
    patch.undo()


class Seen(HTMLParser):
    """What a page holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def all(self, tag, name):
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


def specs(text):
    return json.loads(re.search(r'id="specs">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def of_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    run.run(BASE, folder / "run")
    assert cli.main(["report", str(folder / "run"), "--out", str(folder / "report.html")]) == 0
    return folder / "run", (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_run_s_page_has_every_figure_and_fetches_nothing(of_run):
    _, text = of_run
    page = Seen(text)
    assert set(page.all("figure", "data-figure")) == FIGURES_OF_A_RUN == set(specs(text))
    assert page.tags.count("svg") == page.tags.count("noscript") == len(FIGURES_OF_A_RUN)
    for tag, name in (("script", "src"), ("img", "src"), ("link", "href"), ("a", "href")):
        assert all(value.startswith("data:") for value in page.all(tag, name))
    assert len(page.all("img", "src")) == 18  # 3 classes of 6 test images
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)


@pytest.mark.slow
def test_its_figures_are_the_run_s(of_run):
    folder, text = of_run
    found, summary = specs(text), json.loads((folder / "summary.json").read_text())
    last = [row for row in found["curves"]["data"]["values"] if row["event"] == 8]
    by = {row["what"]: row["value"] for row in last}
    assert by["accuracy, all test images"] == pytest.approx(summary["accuracy_percent"], abs=1e-3)
    assert by["forgetting, points"] == pytest.approx(summary["forgetting_points"], abs=1e-3)
    rows = found["confusion"]["data"]["values"]
    assert sum(row["images"] for row in rows if row["event"] == 8) == 18
    right = sum(row["images"] for row in rows if row["event"] == 8 and row["true"] == row["said"])
    assert 100 * right / 18 == pytest.approx(summary["accuracy_percent"], abs=1e-3)
    held = [row["latents"] for row in found["replays"]["data"]["values"] if row["event"] == 8]
    assert sum(held) == 12
    assert len(found["heat"]["data"]["values"]) == 8 * 3
    seconds = sum(row["value"] for row in found["seconds"]["data"]["values"])
    said = float(re.search(r"one event on vega: ([\d.e-]+) s in all", text)[1])
    assert seconds == pytest.approx(said, rel=0.06)  # parts below a thousandth are left out
    assert "latent_layer = 25" in text
    assert "jaxlib" in text


@pytest.mark.long
def test_a_sweep_s_page(tmp_path):
    (tmp_path / "sweep.toml").write_text(
        'title = "a <b>sweep</b>"\nseeds = 2\n[settings]\nlatent_layer = 27\nreplays = 9\n'
        'weights = "random:1:0.25"\nresolution = 32\ncalibration_images = 12\n'
        '[settings.stream]\ndata = "synthetic:3x4x6"\n[settings.protocol]\nminibatch = 8\n'
        "[grid]\nbits = [8, 5]\n"
    )
    out = tmp_path / "sweep"
    words = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(out), "--workers", "1"]
    assert cli.main(words) == 0
    assert cli.main(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    text = (tmp_path / "report.html").read_text()
    page = Seen(text)
    assert set(page.all("figure", "data-figure")) == {"axis0", "front-memory", "front-energy"}
    assert "<b>sweep" not in text
    assert len(specs(text)["axis0"]["data"]["values"]) == 4
    assert len(specs(text)["front-memory"]["data"]["values"]) == 2
    assert "4 of 4 sessions are finished" in text


def test_names_are_data_whatever_they_look_like():
    evil = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\"b'c", "日本"]
    matrix = np.full((2, 4), 0.5, np.float32)
    figure = learned.heat(matrix, np.zeros(4, int), evil)
    confused = learned.confusion({1: Moment((), ((0, 1, 3), (2, 3, 4)))}, evil)
    text = assemble.page(evil[0], evil[1], [Section(evil[2], (figure, confused))])
    page = Seen(text)
    assert page.tags.count("script") == 3  # the specifications, Vega, ours
    assert "img" not in page.tags
    assert not page.all("img", "onerror")
    assert {row["class"] for row in specs(text)["heat"]["data"]["values"]} == {
        name[:29] + "…" if len(name) > 30 else name for name in evil
    }


def test_many_classes_and_events_stay_readable():
    names = [f"class {label % 90}" for label in range(100)]  # ten of them are called alike
    told = learned.names(names)
    assert len(set(told)) == 100
    history = {event: Moment((1,), ((0, 1, 1),)) for event in range(391)}
    figure = learned.confusion(history, names)
    events = [row["event"] for row in figure.spec["data"]["values"]]
    assert len(events) == 48
    assert (events[0], events[-1]) == (1, 391)
    assert not figure.spec["encoding"]["x"]["axis"]["labels"]


def test_a_figure_that_cannot_be_drawn_is_named():
    wrong = Figure("broken", "", "", {"mark": "no such mark", "data": {"values": []}})
    with pytest.raises(ValueError, match="figure 'broken' cannot be drawn"):
        assemble.page("", "", [Section("", (wrong,))])


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_whose_data_is_gone_still_has_a_report(of_run, tmp_path, monkeypatch):
    folder, _ = of_run
    from qlrjax.lab.page import of_run as module

    gone = dataclasses.replace(BASE.stream, data=str(tmp_path / "gone"))
    plain = module.open_run(folder)
    settings = dataclasses.replace(plain.settings, stream=gone)
    monkeypatch.setattr(module, "open_run", lambda _: dataclasses.replace(plain, settings=settings))
    assert "The data is not there: there is no data" in module.page(folder)
    text = module.page(folder, "eniac")
    assert "Not costed on eniac" in text
