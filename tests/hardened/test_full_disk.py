"""A disk that is full at any moment of a run: the sentence names a path, and room mends it."""

import shutil
import subprocess

import pytest
from support import tiny

# Callbacks of TensorStore come too late for the event loop that Orbax has closed after an error.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def disk(tmp_path):
    """A file system of 3 MB, or a skip where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_with_a_path_before_the_first_checkpoint_and_after(disk, refused):
    run = disk / "run"
    for room in (0, 8_000, 60_000, 200_000, 300_000):  # frozen.npz takes 188 kB, a checkpoint 50
        free = shutil.disk_usage(disk).free
        (disk / "filling").write_bytes(bytes(max(free - room, 0)))
        said = refused("run", "--out", run, *tiny.WORDS)
        assert str(run) in said, room
        assert "No space left" in said, room
        (disk / "filling").unlink()
    assert tiny.run(run) == 0
