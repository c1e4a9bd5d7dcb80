"""Whoever goes on from an older checkpoint is told so, every time, and the log keeps it."""

import shutil

import pytest
from support import tiny

from qlrjax import cli
from qlrjax.runs import opened


@pytest.fixture
def damaged(folder):
    """A run whose newest checkpoint has a flipped bit in its log."""
    path = folder / "checkpoints/00000009/records.jsonl"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    return folder


def commands(run, photos, out):
    labelled = photos.parent / "labelled" / "class 0"
    if not labelled.exists():
        shutil.copytree(photos, labelled)
    yield "predict", run, photos
    yield "evaluate", run, labelled.parent
    yield "classes", run
    yield "classes", run, "rename", "class 0", "cup"
    yield "classes", run, "forget", "class 0"
    yield "learn", run, photos, "--label", "mug"
    for form in ("onnx", "qdq", "npz", "state", "c"):
        yield "export", run, "--format", form, "--out", out / form
    yield "run", "--out", run, "--no-contrast"


@pytest.mark.slow
def test_every_command_that_falls_back_says_so_now_and_until_the_lost_events_are_back(
    damaged, tmp_path, capsys
):
    photos, copy = tiny.photos(tmp_path / "photos"), tmp_path / "copy"
    for words in commands(copy, photos, tmp_path / "out"):
        for again in (False, True):
            if again and (words[0] in ("export", "learn", "run") or len(words) > 3):
                continue
            if not again:
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(damaged, copy)
            (tmp_path / "out").mkdir(exist_ok=True)
            capsys.readouterr()
            assert cli.main([str(word) for word in words]) == 0
            said = " ".join("".join(capsys.readouterr()).split())
            assert "checkpoint 00000009 is damaged" in said or again, words
            assert "00000009.corrupt-1" in said, (words, again)


def test_the_log_keeps_that_a_lesson_went_on_from_an_older_checkpoint(damaged, tmp_path, capsys):
    photos = tiny.photos(tmp_path / "photos")
    assert cli.main(["predict", str(damaged), str(photos)]) == 0  # sets it aside
    assert cli.main(["learn", str(damaged), str(photos), "--label", "mug"]) == 0
    record = opened.open_run(damaged).records[-1]
    assert record["went_on_from"] == 8
    assert "00000009.corrupt-1" in record["because"][0]


def test_a_run_that_has_its_lost_events_back_says_nothing(damaged, capsys):
    assert cli.main(["run", "--out", str(damaged), "--no-contrast"]) == 0
    assert "is damaged" in capsys.readouterr().err
    assert cli.main(["classes", str(damaged)]) == 0
    assert "damaged" not in capsys.readouterr().err
