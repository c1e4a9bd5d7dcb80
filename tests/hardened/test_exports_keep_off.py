"""An export never replaces what is there: not a run's own files, nor anything unasked."""

import pytest
from support import tiny

from qlrjax import cli

FORMATS = ("onnx", "qdq", "npz", "state", "c")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_in_a_runs_folder_is_written_over(folder, refused, form):
    before = tiny.contents(folder)
    for name in ("summary.json", "settings.toml", "checkpoints", "new", "no-replay/x"):
        for more in ((), ("--force",)):
            said = refused("export", folder, "--format", form, "--out", folder / name, *more)
            assert "lies in the folder of a run" in said
    said = refused("export", folder, "--format", form, "--out", folder / "export/../summary.json")
    assert "lies in the folder of a run" in said
    assert tiny.contents(folder) == before


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_is_replaced_when_that_is_asked_for(folder, tmp_path, refused, form):
    mine = tmp_path / "mine"
    if form == "c":
        mine.mkdir()
        (mine / "thesis.tex").write_text("mine")
    else:
        mine.write_text("mine")
    before = tiny.contents(tmp_path)
    assert "give --force" in refused("export", folder, "--format", form, "--out", mine)
    assert tiny.contents(tmp_path) == before
    assert cli.main(["export", str(folder), "--format", form, "--out", str(mine), "--force"]) == 0
    assert tiny.contents(tmp_path) != before
    if form == "c":
        assert (mine / "thesis.tex").read_text() == "mine"


def test_the_runs_own_export_folder_may_be_written_again(folder):
    for _ in range(2):
        for form in ("npz", "state"):
            assert cli.main(["export", str(folder), "--format", form]) == 0
    assert sorted(path.name for path in (folder / "export").iterdir()) == ["arrays.npz", "run.npz"]


def test_links_in_a_received_run_do_not_lead_an_export_elsewhere(folder, tmp_path, refused):
    away = tmp_path / "away"
    away.mkdir()
    (away / "arrays.npz").write_text("mine")
    (folder / "export").symlink_to(away)
    for form in FORMATS:
        assert "is a link" in refused("export", folder, "--format", form)
    (folder / "export").unlink()
    (folder / "export/c").mkdir(parents=True)
    (folder / "export/c/src").symlink_to(away)
    assert "is a link" in refused("export", folder, "--format", "c")
    (folder / "export/arrays.npz").symlink_to(away / "arrays.npz")
    assert "is a link" in refused("export", folder, "--format", "npz")
    assert tiny.contents(away).keys() == {"arrays.npz"}
    assert (away / "arrays.npz").read_text() == "mine"


def test_an_import_takes_an_empty_place_only(folder, tmp_path, refused):
    file = tmp_path / "run.npz"
    assert cli.main(["export", str(folder), "--format", "state", "--out", str(file)]) == 0
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for place in (full, folder, file):
        before = tiny.contents(tmp_path)
        refused("import", file, place)
        assert tiny.contents(tmp_path) == before


def test_an_import_that_was_killed_is_finished_by_the_same_command(folder, tmp_path, refused):
    file, new = tmp_path / "run.npz", tmp_path / "new"
    assert cli.main(["export", str(folder), "--format", "state", "--out", str(file)]) == 0
    new.mkdir()
    for name in ("qlrjax-run.json", "settings.toml"):
        (new / name).write_bytes((folder / name).read_bytes())
    (new / "checkpoints/.draft-00000009").mkdir(parents=True)
    assert cli.main(["import", str(file), str(new)]) == 0
    assert cli.main(["run", "--out", str(new), "--no-contrast"]) == 0
    assert not list(new.rglob(".draft-*"))
    assert "holds a run already" in refused("import", file, new)
