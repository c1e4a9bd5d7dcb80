"""Only what a run wrote, by name and by its id, is ever removed or replaced."""

import json
import shutil

import pytest
from support import tiny

from qlrjax.runs import marker


def lay(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


FOREIGN = {
    "another program's checkpoints": {"checkpoints/model.pt": "weights", "notes.md": "mine"},
    "checkpoints that look like ours": {"checkpoints/00000001/data.bin": "x"},
    "another program's settings": {"settings.toml": "[tool]\na = 1\n"},
    "parts without a run": {"no-replay/data.txt": "mine", "report.png": "mine"},
    "results without a run": {"summary.json": "{}", "accuracy.csv": "1,2\n"},
    "one photo": {"holiday.jpg": "mine"},
}


@pytest.mark.parametrize("fresh", [(), ("--fresh",)], ids=["plain", "fresh"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_is_no_runs_is_refused_by_name_and_stays_as_it_is(
    tmp_path, refused, kind, fresh
):
    folder = tmp_path / "mine"
    lay(folder, FOREIGN[kind])
    before = tiny.contents(folder)
    said = refused("run", "--out", folder, *tiny.WORDS, *fresh)
    assert f"{folder} is not empty and holds no run" in said
    assert any(repr(path.name) in said for path in folder.iterdir())
    assert tiny.contents(folder) == before


def test_fresh_removes_nothing_as_long_as_one_thing_in_the_folder_is_not_the_runs(folder, refused):
    strangers = {
        "thesis.tex": "mine",
        "checkpoints/model.pt": "weights",
        "checkpoints/00000009/extra.bin": "mine",
        "checkpoints/00000009/state/extra.bin": "mine",
        "no-replay/data.txt": "mine",
    }
    for name, text in strangers.items():
        lay(folder, {name: text})
        before = tiny.contents(folder)
        said = refused("run", "--out", folder, *tiny.WORDS, "--fresh")
        assert "removes nothing" in said, name
        assert f"{folder / name}" in said or f"{folder / name.split('/')[0]} " in said
        assert tiny.contents(folder) == before, name
        (folder / name).unlink()
        if name.startswith("no-replay"):
            (folder / "no-replay").rmdir()
    assert tiny.run(folder, "--fresh") == 0


def test_checkpoints_of_another_run_are_neither_gone_on_with_nor_removed(folder, tmp_path, refused):
    shutil.rmtree(folder / "checkpoints")
    assert tiny.run(tmp_path / "other") == 0
    shutil.copytree(tmp_path / "other/checkpoints", folder / "checkpoints")
    before = tiny.contents(folder)
    assert "is of another run" in refused("run", "--out", folder, *tiny.WORDS)
    assert "removes nothing" in refused("run", "--out", folder, *tiny.WORDS, "--fresh")
    assert tiny.contents(folder) == before


def test_the_marker_is_first_and_checkpoints_repeat_its_id(tmp_path, monkeypatch):
    folder, seen = tmp_path / "run", []
    create = marker.create

    def watch(place, own):
        seen.append(sorted(path.name for path in place.iterdir()))
        create(place, own)

    monkeypatch.setattr(marker, "create", watch)
    assert tiny.run(folder) == 0
    assert seen == [["run.lock"]]
    own = json.loads((folder / "qlrjax-run.json").read_text())
    assert own["schema"] == 1
    assert len(own["id"]) == 32
    for manifest in (folder / "checkpoints").glob("*/manifest.json"):
        assert json.loads(manifest.read_text())["extra"]["run"] == own["id"]


@pytest.mark.parametrize("text", ["", "{}", "[" * 5000, '{"schema": 2, "id": "", "part_of": ""}'])
def test_a_marker_that_is_none_is_said_and_nothing_is_touched(folder, refused, text):
    (folder / marker.NAME).write_text(text)
    before = tiny.contents(folder)
    for fresh in ((), ("--fresh",)):
        said = refused("run", "--out", folder, *tiny.WORDS, *fresh)
        assert "marker of a run" in said or "is a run of format" in said or "holds no id" in said
    assert tiny.contents(folder) == before


def test_a_run_from_before_there_were_markers_is_recognised_by_an_intact_checkpoint(folder):
    (folder / marker.NAME).unlink()
    assert tiny.run(folder) == 0
    assert marker.read(folder) is not None
    (folder / marker.NAME).unlink()
    assert tiny.run(folder, "--fresh") == 0
