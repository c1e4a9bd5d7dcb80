"""Sweeps, plans and reports: folders of others, links, damaged tables, files that are there."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from support import tiny

from qlrjax import cli
from qlrjax.lab import learned, sweep, sweepfile, sweepfolder, table
from qlrjax.lab.pool import News
from qlrjax.runs import runfolder

TEXT = "title = 'two'\n[settings]\nreplays = 50\n[grid]\nlatent_layer = [26, 27]\n"
FIGURES = {
    **{"accuracy_percent": 70.5, "forgetting_points": 1.0, "replay_bytes": 100},
    **{"images_later_event": 100, "images_first_event": 200, "classes": 10, "events": 39},
    **{"data": "Fashion-MNIST", "test_images": 1000},
}


def pretend(tasks, folder, stop):
    """Learns nothing and writes what learning would."""
    for task in tasks:
        result = {"schema": learned.SCHEMA, "task": task.id, "settings": {}, "figures": FIGURES}
        result["timing"] = {"worker": "none", "seconds": 1.0}
        learned.write(folder, task.id, result)
        yield News(task.id, "done", result=result)


@pytest.fixture
def swept(tmp_path) -> Path:
    folder = tmp_path / "sweep"
    assert not sweep.run(sweepfile.parse(TEXT), folder, pretend).missing
    return folder


def test_a_foreign_folder_is_refused_whatever_its_files_are_called(tmp_path, refused):
    """A sweep.toml makes no sweep: it may be another program's, or lie beside someone's table."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("sweep.toml", "table.csv", "timing.csv"):
        (mine / name).write_text(TEXT)
    before = tiny.contents(mine)
    said = refused("sweep", mine / "sweep.toml", "--out", mine, "--workers", "1")
    assert "is not empty and holds no sweep" in said
    assert tiny.contents(mine) == before


def test_links_and_pipes_where_a_sweep_writes_are_refused(swept, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    (away / "mine.txt").write_text("mine")
    wanted = sweepfile.parse(TEXT)
    for name in (
        "results",
        "sessions",
        "sweep.toml",
        "table.csv",
        f"sessions/{wanted.tasks[0].id}",
    ):
        copy = Path(shutil.copytree(swept, tmp_path / "copy"))
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(away)
        with pytest.raises(ValueError, match="is a link"):
            sweep.run(wanted, copy, pretend)
        assert tiny.contents(away).keys() == {"mine.txt"}
        shutil.rmtree(copy)
    (swept / runfolder.SWEEP_MARKER).unlink()
    os.mkfifo(swept / runfolder.SWEEP_MARKER)
    with pytest.raises(ValueError, match="is not the marker of a sweep"):
        sweepfolder.look(swept)


def test_a_sweep_from_before_there_were_markers_goes_on(swept):
    (swept / runfolder.SWEEP_MARKER).unlink()
    with pytest.raises(ValueError, match="holds no sweep"):
        sweepfolder.look(swept)
    session = swept / "sessions/0123456789abcdef"
    session.mkdir(parents=True)
    (session / runfolder.RUN_MARKER).write_text("{}")
    assert not sweep.run(sweepfile.parse(TEXT), swept, pretend).missing
    assert (swept / runfolder.SWEEP_MARKER).is_file()


def test_every_damaged_byte_of_a_result_makes_it_one_that_is_not_there(swept):
    task = sweepfile.parse(TEXT).tasks[0].id
    path = swept / "results" / f"{task}.json"
    data, whole = path.read_bytes(), learned.read(swept, task)
    assert whole is not None
    for place in range(len(data)):
        for bit in (0, 4):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            found = learned.read(swept, task)
            assert found is None or found == whole  # what a space became may not matter
    for text in ("[]", "[" * 100_000, '{"schema": 2}', "NaN"):
        path.write_text(text)
        assert learned.read(swept, task) is None


def test_every_damaged_byte_of_a_table_is_noticed_or_harmless(swept):
    path = swept / table.PARQUET
    data, whole, said = path.read_bytes(), table.read(swept), set()
    for place in range(3, len(data), len(data) // 150):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            assert table.read(swept) == whole
        except ValueError as error:
            said.add(str(error))
    assert said
    assert all("is not a sweep's table" in sentence for sentence in said)
    assert any("digest" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("bits", "abc"),
        ("replays", "nan"),
        ("weights", "NaN"),
        ("accuracy_percent", "NaN"),
        ("accuracy_percent", "1000"),
        ("latent_layer", ""),
        ("classes", "0"),
        ("images_later_event", "-1"),
        ("protocol.epochs", "1e400"),
        ("stream.test_sessions", "[[["),
        ("data", "x" * 20_000),
        ("data", "x" * 200_000),
    ],
)
def test_a_plan_from_a_table_of_nonsense_is_one_sentence(swept, refused, column, value):
    rows = list(csv.DictReader(io.StringIO((swept / table.CSV).read_text())))
    rows[1][column] = value
    other = swept.parent / "table.csv"
    other.write_text(table.csv_text(rows))
    assert "is not a sweep's table" in refused("plan", "--accuracies", other)


def test_a_plan_for_a_network_of_any_size_takes_no_memory_for_its_weights(swept, capsys):
    rows = list(csv.DictReader(io.StringIO((swept / table.CSV).read_text())))
    for row in rows:
        row["weights"] = "random:0:100000"
    other = swept.parent / "table.csv"
    other.write_text(table.csv_text(rows))
    assert cli.main(["plan", "--accuracies", str(other), "--memory", "64MB"]) in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["kernel", "loop"])
def test_a_pipe_in_place_of_rows_is_refused(tmp_path, refused, command):
    os.mkfifo(tmp_path / "rows.csv")
    assert "is not a plain file" in refused("hw", command, "--rows", tmp_path / "rows.csv")


def test_sweep_files_that_are_none_are_one_sentence(tmp_path, refused):
    path = tmp_path / "sweep.toml"
    os.mkfifo(path)
    assert "is not a plain file" in refused("sweep", path, "--out", tmp_path / "out")
    path.unlink()
    path.write_text("a = " + "[" * 100_000)
    assert "not TOML" in refused("sweep", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reports_and_pictures_replace_nothing_unasked(folder, swept, tmp_path, refused):
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<html>mine")
    (tmp_path / "link.html").symlink_to(thesis)
    event = ("hw", "event", "--latent-layer", "27")
    plan = ("plan", "--latent-layers", "27", "--replays", "100", "--bits", "8")
    before = tiny.contents(tmp_path)
    for words in (
        ("report", swept, "--out"),
        ("report", folder, "--out"),
        (*event, "--trace"),
        (*event, "--roofline"),
        (*plan, "--picture"),
    ):
        for place in (thesis, tmp_path / "link.html"):
            assert "give --force" in refused(*words, place)
        assert "is a folder" in refused(*words, tmp_path)
        for place in (folder / "summary.json", folder / "new.html", swept / "table.csv"):
            assert "lies in the folder of a" in refused(*words, place)
            assert "lies in the folder of a" in refused(*words, place, "--force")
    assert tiny.contents(tmp_path) == before
    assert cli.main([*event, "--trace", str(thesis), "--force"]) == 0
    assert json.loads(thesis.read_text())["traceEvents"]


def test_a_report_replaces_an_earlier_report(folder, tmp_path, monkeypatch, capsys):
    assemble = pytest.importorskip("qlrjax.lab.page.assemble")
    monkeypatch.setattr("qlrjax.lab.page.of_run.page", lambda *_: assemble.START + "<p>new")
    out = tmp_path / "report.html"
    for _ in range(2):
        assert cli.main(["report", str(folder), "--out", str(out)]) == 0
    assert out.read_text().endswith("<p>new")


def test_a_damaged_script_is_not_put_into_reports(tmp_path, monkeypatch):
    vega = pytest.importorskip("vl_convert", reason="the extra 'report' is not installed")
    from qlrjax.lab.page import assemble

    monkeypatch.setenv("QLRJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vega, "javascript_bundle", lambda vl_version: "let x = '</script>';")
    whole = assemble.bundle()
    (path,) = (tmp_path / "cache/vega").iterdir()
    data = path.read_bytes()
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1
        path.write_bytes(broken)
        assert assemble.bundle() == whole
    assert path.read_bytes() == data


def test_event_files_of_others_stay(folder):
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    from qlrjax.runs import scalars

    place = folder / "tensorboard"
    place.mkdir()
    (place / "events.out.tfevents.1.theirs").write_text("theirs")
    (place / "events.out.tfevents.folder").mkdir()
    for _ in range(2):
        with scalars.writing(folder):
            pass
    names = sorted(path.name for path in place.iterdir())
    assert len(names) == 3
    assert {"events.out.tfevents.1.theirs", "events.out.tfevents.folder"} < set(names)


@pytest.mark.parametrize("name", ["history.jsonl", "timing.jsonl"])
def test_pipes_where_a_run_appends_are_refused(folder, refused, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    shutil.rmtree(folder / "checkpoints/00000009")
    reader = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert name in refused("run", "--out", folder, "--no-contrast")
    finally:
        os.close(reader)
