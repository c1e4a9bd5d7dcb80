"""A run's folder: one process at a time, whole files, a log without gaps or doubles."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlrjax import files
from qlrjax.runs import runfolder

SOURCE = Path(__file__).resolve().parents[2] / "src"
HOLD = """
    import pathlib, sys, time
    from qlrjax.runs import runfolder
    with runfolder.lock(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_dead_one_does_not_hold(tmp_path):
    folder = tmp_path / "new/run"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(runfolder.FolderBusy, match="another process works in"):
            runfolder.lock(folder).__enter__()
    finally:
        process.kill()
        process.communicate()
    with runfolder.lock(folder):
        assert (folder / runfolder.LOCK_NAME).exists()


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyError), runfolder.lock(tmp_path):
        raise KeyError
    with runfolder.lock(tmp_path), pytest.raises(runfolder.FolderBusy):
        runfolder.lock(tmp_path).__enter__()


def without_flock(monkeypatch):
    def missing(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)


HOLD_WITHOUT = """
    import errno, fcntl, sys
    def missing(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")
    fcntl.flock = missing
"""


def test_without_flock_a_dead_process_does_not_hold_and_a_live_one_is_named(tmp_path, monkeypatch):
    """Some network file systems have no flock; a file is the lock there."""
    without_flock(monkeypatch)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD_WITHOUT) + textwrap.dedent(HOLD), tmp_path],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(runfolder.FolderBusy, match=rf"process {process.pid} on "):
            runfolder.lock(tmp_path).__enter__()
    finally:
        process.kill()
        process.communicate()
    with runfolder.lock(tmp_path):
        assert (tmp_path / runfolder.LOCK_NAME).exists()
    assert not (tmp_path / runfolder.LOCK_NAME).exists()


@pytest.mark.parametrize("left", ["", "4711\nanother-machine\n", "\xff", "[" * 5000])
def test_without_flock_a_lock_of_elsewhere_says_what_to_do(tmp_path, monkeypatch, left):
    """Such as the empty file that is left where there was flock."""
    without_flock(monkeypatch)
    (tmp_path / runfolder.LOCK_NAME).write_text(left, encoding="latin1")
    with pytest.raises(runfolder.FolderBusy) as caught:
        runfolder.lock(tmp_path).__enter__()
    assert f"if there is none, remove {tmp_path / runfolder.LOCK_NAME}" in str(caught.value)
    (tmp_path / runfolder.LOCK_NAME).unlink()
    with runfolder.lock(tmp_path):
        pass


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(OSError, match="exists"):
        runfolder.lock(tmp_path / "run").__enter__()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    files.write_atomic(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["events.jsonl"]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), PLAIN, max_size=4), max_size=5))
def test_records_survive_with_any_text_in_them(records):
    """Such as class names from file names that are not UTF-8, or with line separators."""
    data = runfolder.encode_records(records)
    assert list(runfolder.decode_records(data)) == records
    assert data.count(b"\n") == len(records)


def test_a_log_is_exactly_the_records_whatever_was_there(tmp_path):
    path = tmp_path / "events.jsonl"
    records = [{"event": 0, "name": "a\u2028b"}, {"event": 1}]
    assert runfolder.read_records(path) == ()
    for before in (b"", b'{"event": 0}\n{"ev', b"\xff\xfe", b"{}\n" * 9):
        path.write_bytes(before)
        runfolder.write_records(path, records)
        assert runfolder.read_records(path) == tuple(records)
    stamp = path.stat().st_ino
    runfolder.write_records(path, records)
    assert path.stat().st_ino == stamp  # not written again
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    runfolder.write_records(path, records)
    assert runfolder.read_records(path) == tuple(records)


@pytest.mark.parametrize("data", [b"[]\n", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_log_is_refused(tmp_path, data):
    (tmp_path / "events.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match="is not a log of events"):
        runfolder.read_records(tmp_path / "events.jsonl")


def test_values_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        runfolder.encode_records([{"loss": float("nan")}])


def test_clear_removes_what_it_is_told_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints/1/state").mkdir(parents=True)
    for name in ("events.jsonl", "mine.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    runfolder.clear(tmp_path, ["checkpoints", "events.jsonl", "missing", "link"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "mine.txt"]
    for name in ("..", ".", "", "a/b", "/etc", "../x"):
        with pytest.raises(ValueError, match="does not name an entry"):
            runfolder.clear(tmp_path, [name])


def test_no_pickle_anywhere():
    """Nothing in the package can execute what it reads, or takes np.load's word for it."""
    banned = (
        "import pickle",
        "import dill",
        "import shelve",
        "import marshal",
        "eval(",
        "exec(",
        "yaml.load",
        "allow_pickle=True",
        "joblib",
        "cloudpickle",
    )
    sources = sorted((SOURCE / "qlrjax" / "runs").glob("*.py"))
    assert len(sources) > 8
    for source in sources:
        text = source.read_text()
        assert not [word for word in banned if word in text], source.name


@given(st.lists(st.dictionaries(st.text(), PLAIN, max_size=3), max_size=6))
def test_a_log_that_grows_is_what_it_would_be_written_at_once(records):
    log = runfolder.Log.of(records[:2])
    for record in records[2:]:
        log = log.add(record)
    assert list(log) == records
    assert runfolder.encode_records(log) == runfolder.encode_records(records)
    with pytest.raises(ValueError, match="JSON compliant"):
        log.add({"loss": float("inf")})
