"""Random damage to any file of a checkpoint is detected or harmless; none is silently loaded."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import toy
from support.toy import assert_same, save_run

from qlrjax.runs import checkpoint

DAMAGES = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    state, records = save_run(folder, 2)
    return folder, state, records


def files_of(place: Path) -> list[Path]:
    return sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())


def damage(path: Path, rng: np.random.Generator) -> str:
    """Flips a bit, cuts the end off, lengthens, empties or removes one file."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "cut", "longer", "empty", "gone"], p=[0.6, 0.25, 0.05, 0.05, 0.05])
    if kind == "gone":
        path.unlink()
        return "removed"
    if not data or kind == "longer":
        path.write_bytes(bytes(data) + rng.bytes(int(rng.integers(1, 9))))
        return "lengthened"
    if kind == "flip":
        index = int(rng.integers(len(data)))
        data[index] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        return f"bit flipped at {index}"
    size = 0 if kind == "empty" else int(rng.integers(len(data)))
    path.write_bytes(data[:size])
    return f"cut to {size}"


@pytest.mark.long
def test_random_damage_is_detected_or_harmless(run, tmp_path):
    """Half of the damages go to a random file, half to the arrays; all fall back to step 1."""
    source, _, _ = run
    rng = np.random.default_rng(7)
    template, before = toy.start(), toy.run(1)[0]
    names = files_of(source / "00000002")
    large = [name for name in names if (source / "00000002" / name).stat().st_size > 1000]
    detected = 0
    for turn in range(DAMAGES):
        folder = tmp_path / "run"
        shutil.copytree(source, folder, copy_function=os.link)
        pool = names if turn % 2 else large
        path = folder / "00000002" / pool[int(rng.integers(len(pool)))]
        copy = path.read_bytes()
        path.unlink()  # a file of its own, not the linked one
        path.write_bytes(copy)
        what = damage(path, rng)
        restored = checkpoint.restore(folder, template, toy.SETTINGS)
        assert restored.step == 1, f"{path.name} {what} was not noticed"
        assert "00000002 is damaged" in restored.notes[0]
        assert_same(restored.state, before)
        detected += 1
        shutil.rmtree(folder)
    assert detected == DAMAGES


def test_every_file_matters(run, tmp_path):
    """No file is so unimportant that its first or last byte may change unnoticed."""
    source, _, _ = run
    for name in files_of(source / "00000002"):
        for index in (0, -1):
            folder = tmp_path / "run"
            shutil.copytree(source, folder)
            path = folder / "00000002" / name
            data = bytearray(path.read_bytes() or b"\0")
            data[index] ^= 0x80
            path.write_bytes(data)
            assert checkpoint.restore(folder, toy.start(), toy.SETTINGS).step == 1, name
            shutil.rmtree(folder)


def test_swapped_checkpoints_are_damage(run, tmp_path):
    """Each is intact, but not what its name says."""
    source, _, _ = run
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    (folder / "00000001").rename(folder / "x")
    (folder / "00000002").rename(folder / "00000001")
    (folder / "x").rename(folder / "00000002")
    with pytest.raises(checkpoint.CorruptCheckpoint, match="manifest is of step 1"):
        checkpoint.restore(folder, toy.start(), toy.SETTINGS)


def test_a_file_of_another_checkpoint_is_damage(run, tmp_path):
    source, _, _ = run
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    for name in ("records.jsonl", "manifest.json"):
        shutil.copy(source / "00000001" / name, folder / "00000002" / name)
    assert checkpoint.restore(folder, toy.start(), toy.SETTINGS).step == 1


def test_a_file_or_folder_in_the_wrong_place_is_damage(run, tmp_path):
    source, _, _ = run
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    (folder / "00000002/records.jsonl").unlink()
    (folder / "00000002/records.jsonl").mkdir()
    (folder / "00000003").write_text("not a folder")
    restored = checkpoint.restore(folder, toy.start(), toy.SETTINGS)
    assert restored.step == 1
    assert len(restored.notes) == 2
