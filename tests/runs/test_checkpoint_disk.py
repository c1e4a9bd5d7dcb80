"""Full disks, missing permissions, vanished folders: the run stays usable, the error is clear."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from support import toy
from support.toy import assert_same, save_run

from qlrjax.runs import checkpoint, runfolder, snapshot

# Callbacks of TensorStore come too late for the event loop that Orbax has closed after an error.
late_callbacks = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@late_callbacks
@pytest.mark.parametrize("limit", [0, 60, 300, 800, 1500, 2500])
def test_a_limit_on_file_sizes_leaves_the_last_checkpoint(tmp_path, limit):
    """The kernel refuses to write beyond `limit` bytes of any file, at other places each time."""
    save_run(tmp_path, 2)
    state, records = toy.run(3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(checkpoint.SaveFailed) as error:
            checkpoint.save(tmp_path, 3, state, toy.SETTINGS, records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "checkpoint 3 could not be written" in str(error.value)
    assert "(File too large); the last good one is 2; make room" in str(error.value)
    # A thread of Orbax that was late may have left the hidden draft; nothing reads it, and the next
    # save sweeps it.
    left = {path.name for path in tmp_path.iterdir()}
    assert {"00000001", "00000002"} <= left <= {"00000001", "00000002", ".draft-00000003"}
    checkpoint.save(tmp_path, 3, state, toy.SETTINGS, records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000003"]
    assert_same(checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).state, state)


def mounted(tmp_path: Path, *options: str) -> Path:
    """A mount point that the test takes down, or a skip where mounting is not allowed."""
    place = tmp_path / "mounted"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", *options, str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    return place


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """A file system of 512 kB, filled up to less and less room for the third checkpoint."""
    disk = mounted(tmp_path, "-t", "tmpfs", "-o", "size=512k", "tmpfs")
    try:
        folder = disk / "checkpoints"
        save_run(folder, 2)
        state, records = toy.run(3)
        free = shutil.disk_usage(disk).free
        for room in (0, 4096, 12288, 24576):
            (disk / "filling").write_bytes(bytes(free - room))
            full = "No space left on device.*the last good one is 2"
            with pytest.raises(checkpoint.SaveFailed, match=full):
                checkpoint.save(folder, 3, state, toy.SETTINGS, records)
            assert checkpoint.steps(folder) == [1, 2]
            restored = checkpoint.restore(folder, toy.start(), toy.SETTINGS)
            assert_same(restored.state, toy.run(2)[0])
        (disk / "filling").unlink()
        checkpoint.save(folder, 3, state, toy.SETTINGS, records)
        assert checkpoint.steps(folder) == [2, 3]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_read_only_disk_can_still_be_read(tmp_path):
    source = tmp_path / "source"
    save_run(source, 2)
    (source / "00000002/records.jsonl").write_text("damaged")
    disk = mounted(tmp_path, "--bind", str(source))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        restored = checkpoint.restore(disk, toy.start(), toy.SETTINGS)
        assert restored.step == 1
        assert "passed over, but not set aside (Read-only file system)" in restored.notes[0]
        with pytest.raises(checkpoint.SaveFailed, match=r"Read-only file system.*last good one"):
            checkpoint.save(disk, 3, toy.start(), toy.SETTINGS, [])
        with pytest.raises(OSError, match="Read-only file system"):
            runfolder.write_records(disk / "events.jsonl", [])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    checkpoint.save(source, 3, toy.start(), toy.SETTINGS, [])
    assert checkpoint.restore(source, toy.start(), toy.SETTINGS).step == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_no_damage(tmp_path):
    save_run(tmp_path, 2)
    (tmp_path / "00000002/manifest.json").chmod(0)
    with pytest.raises(PermissionError):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    (tmp_path / "00000002/manifest.json").chmod(0o600)
    tmp_path.chmod(0o500)
    with pytest.raises(checkpoint.SaveFailed, match="Permission denied"):
        checkpoint.save(tmp_path, 3, toy.start(), toy.SETTINGS, [])
    tmp_path.chmod(0o700)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_errors_that_are_no_damage_pass_through(tmp_path, monkeypatch):
    """As root cannot be denied anything, the denial is played."""
    save_run(tmp_path, 2)

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(PermissionError):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_a_vanished_folder_is_made_again(tmp_path):
    state, records = save_run(tmp_path / "run", 2)
    shutil.rmtree(tmp_path / "run")
    checkpoint.save(tmp_path / "run", 3, state, toy.SETTINGS, records)
    assert checkpoint.restore(tmp_path / "run", toy.start(), toy.SETTINGS).step == 3


def test_a_folder_that_vanishes_while_saving_is_a_clear_error(tmp_path, monkeypatch):
    save_run(tmp_path / "run", 1)
    state = toy.start()
    original = snapshot.write

    def vanish(*args, **kwargs):
        original(*args, **kwargs)
        shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(snapshot, "write", vanish)
    with pytest.raises(checkpoint.SaveFailed, match="No such file or directory"):
        checkpoint.save(tmp_path / "run", 2, state, toy.SETTINGS, [])


def test_no_moment_of_a_save_is_a_bad_one_to_be_killed(tmp_path, monkeypatch):
    """The folder as a kill would leave it, before every change that a save makes to the disk."""
    folder, moments = tmp_path / "run", []

    def watched(function):
        def call(*args, **kwargs):
            moments.append(keep(folder, tmp_path / f"before-{len(moments)}"))
            return function(*args, **kwargs)

        return call

    save_run(folder, 3)
    state, records = toy.run(4)
    changes = [
        (Path, "rename"),
        (Path, "replace"),
        (Path, "write_bytes"),
        (Path, "mkdir"),
        (shutil, "rmtree"),
        (snapshot.ocp, "save"),
    ]
    with monkeypatch.context() as patch:
        for owner, name in changes:
            patch.setattr(owner, name, watched(getattr(owner, name)))
        checkpoint.save(folder, 4, state, toy.SETTINGS, records)
    moments.append(folder)
    assert len(moments) > 8
    runs = {step: toy.run(step)[0] for step in (3, 4)}
    found = []
    for moment in moments:
        restored = checkpoint.restore(moment, toy.start(), toy.SETTINGS)
        assert restored.notes == ()
        assert len(checkpoint.steps(moment)) >= 2
        assert_same(restored.state, runs[restored.step])
        assert len(restored.records) == restored.step
        if restored.step == 3 and len(found) % 4 == 3:
            checkpoint.save(moment, 4, state, toy.SETTINGS, records)
        found.append(restored.step)
    assert found == sorted(found)
    assert set(found) == {3, 4}


def keep(folder: Path, place: Path) -> Path:
    subprocess.run(["cp", "-a", str(folder), str(place)], check=True)
    return place
