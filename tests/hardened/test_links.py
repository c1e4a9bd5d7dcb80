"""Links in a folder that someone received decide nothing: not where bytes go, nor what is gone."""

import os
import shutil

import pytest
from support import tiny

from qlrjax import cli
from qlrjax.runs import opened

TARGETS = (
    "settings.toml",
    "frozen.npz",
    "fidelity.csv",
    "events.jsonl",
    "timing.jsonl",
    "accuracy.csv",
    "summary.json",
    "report.png",
    "qlrjax-run.json",
    "run.lock",
    "checkpoints",
    "checkpoints/00000009",
    "checkpoints/.draft-00000010",
    "no-replay",
    "export",
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_link_where_a_run_writes_is_refused_by_name(folder, tmp_path, refused, name):
    away = tmp_path / "away"
    path = folder / name
    if path.is_dir():
        shutil.move(path, away)
    elif path.exists():
        away.mkdir()
        shutil.move(path, away / "file")
    else:
        away.mkdir()
        (away / "mine.txt").write_text("mine")
    path.symlink_to(away / "file" if (away / "file").exists() else away)
    before = tiny.contents(away)
    photos = tiny.photos(tmp_path / "photos")
    for words in (
        ("run", "--out", folder, *tiny.WORDS),
        ("run", "--out", folder, *tiny.WORDS, "--fresh"),
        ("learn", folder, photos, "--label", "mug"),
        ("classes", folder, "rename", "class 0", "cup"),
        ("export", folder, "--format", "state"),
    ):
        if words[0] == "export" and name != "export":
            continue
        said = refused(*words)
        assert "link" in said.lower() or "symbolic" in said, (words, said)
    assert tiny.contents(away) == before
    assert path.is_symlink()


def test_temporaries_laid_out_beforehand_are_not_written_through(folder, tmp_path):
    """Names that earlier versions used; today's cannot be guessed."""
    away = tmp_path / "mine.txt"
    away.write_text("mine")
    for name in ("summary.json", "events.jsonl", "settings.toml", "report.png"):
        (folder / f"{name}.tmp").symlink_to(away)
        (folder / f".{name}.tmp").symlink_to(away)
    shutil.rmtree(folder / "checkpoints" / "00000009")
    assert tiny.run(folder) == 0
    assert away.read_text() == "mine"


def test_a_damaged_checkpoint_behind_a_link_is_passed_over_and_not_renamed(folder, tmp_path):
    away = tmp_path / "away"
    shutil.move(folder / "checkpoints", away)
    (folder / "checkpoints").symlink_to(away)
    (away / "00000009/records.jsonl").write_text("")
    run = opened.open_run(folder)
    assert run.step == 8
    assert run.damage[0].endswith("it was passed over")
    assert sorted(os.listdir(away)) == ["00000008", "00000009"]


def test_a_run_may_be_reached_through_a_link_of_its_owner(folder, tmp_path):
    (tmp_path / "mine").symlink_to(folder)
    assert tiny.run(tmp_path / "mine") == 0
    assert cli.main(["classes", str(tmp_path / "mine")]) == 0
