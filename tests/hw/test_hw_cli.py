"""`qlrjax hw`: what it shows, in how many columns, and how it refuses."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from pulpsim.cost import platform
from pulpsim.event import event, tables
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.cli import hw_show
from qlrjax.network import mobilenet_v1


def command(capsys, *words):
    code = cli.main(["hw", *words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


SMALL = ("--width", "0.25", "--resolution", "64", "--latent-layer", "26")


def test_cli_event(capsys):
    code, out, _ = command(capsys, "event", *SMALL, "--json")
    assert code == 0
    data = json.loads(out)
    assert data["summary"]["event_J"] == pytest.approx(
        sum(data["summary"][part + "_J"] for part in ("chip", "l2", "storage", "external"))
    )
    assert data["summary"]["event_s"] == pytest.approx(sum(row["s"] for row in data["steps"]))
    assert any("active_watts" in note and "recalled" in note for note in data["unproven"])
    code, out, _ = command(capsys, "event", *SMALL, "--by", "layer")
    assert code == 0
    assert "MAC/cycle" in out
    assert "recalled" in out
    assert "h of battery" in out


def test_cli_layer(capsys):
    code, out, _ = command(capsys, "layer", "26", *SMALL[:4], "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["step"] for row in rows} >= {"forward", "weight gradient", "input gradient"}
    assert all(float(row["cycles"]) > 0 for row in rows)


def test_cli_compare(capsys):
    code, out, _ = command(
        capsys, "compare", "vega", "stm32l4", *SMALL[:4], "--latent-layers", "26", "27", "--csv"
    )
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    names = ["26", "27", "mean", "mean without 27", "mean of what fits"]
    assert [row["latent_layer"] for row in rows] == names
    assert {row["statistics"] for row in rows} == {"minibatch"}
    assert float(rows[0]["stm32l4_time_ratio"]) > 10


def test_cli_passes_trace_and_roofline(capsys, tmp_path):
    trace, picture = tmp_path / "trace.json", tmp_path / "roofline.png"
    files = ("--trace", str(trace), "--roofline", str(picture))
    code, out, _ = command(capsys, "event", *SMALL, "--by", "pass", "--csv", *files)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    for row in rows:
        assert 0 <= float(row["utilisation_share"]) <= 1
        assert row["bound"] in ("compute", "L2", "RAM")
        if row["least_MB"]:
            assert float(row["off_chip_MB"]) >= float(row["least_MB"]) * (1 - 1e-9)
    slices = [one for one in json.loads(trace.read_text())["traceEvents"] if one["ph"] == "X"]
    by_track = {number: [one for one in slices if one["tid"] == number] for number in (1, 2, 3, 4)}
    trained = [row for row in rows if row["step"] not in ("frozen", "latent write", "replay write")]
    batch_us = sum(float(row["s"]) / float(row["runs"]) for row in trained) * 1e6
    assert sum(one["dur"] for one in by_track[1]) == pytest.approx(batch_us, rel=1e-3)
    for track in by_track.values():  # slices of a track follow each other
        ends = [one["ts"] + one["dur"] for one in track]
        assert all(later["ts"] >= end - 0.01 for end, later in zip(ends, track[1:], strict=False))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("event", "--platform", "gap8"), "gap8"),
        (("event", "--latent-layer", "28"), "latent layer 28"),
        (("event", "--json", "--csv"), "exclude"),
        (("event", "--bits", "9"), "9 bits"),
        (("event", "--cores", "0"), "cluster.cores"),
        (("event", "--l1-kib", "12"), "cluster.l1"),
        (("layer", "28"), "layer"),
        (("compare", "vega"), "two platforms"),
    ],
)
def test_cli_bad_input_is_one_sentence_and_code_2(capsys, words, said):
    code, out, err = command(capsys, *words)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_cli_messages_name_no_class(capsys):
    _, _, err = command(capsys, "event", "--width", "1e9")
    assert "Planes(" not in err
    assert "i3w_conv on 32000000000 channels of 64 rows" in err


@pytest.mark.parametrize("width", [80, 100, 400])
@pytest.mark.parametrize(
    "words",
    [
        ("event", *SMALL),
        ("event", *SMALL, "--by", "layer"),
        ("layer", "26", *SMALL[:4]),
        ("compare", *SMALL[:4], "--latent-layers", "26", "27"),
        ("kernel", "p1_2x4", "--shape", "8x8x8", "--cores", "1"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_tables_fit_the_terminal_and_lose_no_column(capsys, monkeypatch, words, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = command(capsys, *words)
    assert code == 0
    table = [line for line in out.splitlines() if line[:1] in ("┏", "┃", "┡", "│", "└")]
    assert max(map(len, table)) <= width
    assert all(line[-1] in "┓┃┩│┘" for line in table)
    assert "…" not in out


def test_every_column_is_in_one_part_and_names_are_in_all():
    result = event.event_cost(EventSetting(mobilenet_v1(0.25, 64), 26), platform.load("vega"))
    rows = tables.passes(result)
    parts = hw_show.fold(rows, 80)
    assert len(parts) > 1
    assert all(part[:3] == ["layer", "name", "step"] for part in parts)
    shown = [key for part in parts for key in part[3:]]
    assert shown == [key for key in rows[0] if key not in ("layer", "name", "step")]
    assert hw_show.fold(rows, 1000) == [list(rows[0])]


def test_columns_can_be_chosen(capsys):
    code, out, _ = command(capsys, "event", *SMALL, "--csv", "--columns", "step", "J")
    assert code == 0
    assert out.splitlines()[0] == "step,J"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--csv",), ("--json",)])
def test_a_reader_that_stops_early_hears_no_complaint(options):
    """As `qlrjax hw event | head`: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "qlrjax.cli", "hw", "event", *SMALL, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141
