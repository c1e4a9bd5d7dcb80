"""A run's folder: one process at a time, files that are whole or absent, a log that cannot drift.

The log of events is never appended to. It is a copy of the records in the last checkpoint and is
replaced as a whole, so no kill can leave an event in it twice, half, or not at all.
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from qlrjax import files
from qlrjax.names import printable

LOCK_NAME = "run.lock"
# What makes a folder a run's or a sweep's, see `marker` and `lab.sweepfolder`; and a run's exports.
RUN_MARKER, SWEEP_MARKER, EXPORT = "qlrjax-run.json", "qlrjax-sweep.json", "export"
_LOCK_BYTES_AT_MOST = 4096
_LOG_BYTES_AT_MOST = 2**30
Record = Mapping[str, Any]


class FolderBusy(ValueError):
    """Another process works in the folder."""


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process; makes the folder if it is not there.

    The kernel holds the lock (flock), so it is gone as soon as its process is, however that died.
    Where a file system has no flock, a file that names the process is the lock; one whose process
    is gone is taken over, and one of another machine is named, with what to do.

    Raises:
        FolderBusy: Another process holds it.
        OSError: The folder cannot be made or written to, or something else has the lock's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    with contextlib.suppress(FileNotFoundError):  # a link leads elsewhere, nobody locks a pipe
        files.check_plain(path.lstat(), path)
    held = filelock.FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings():
            # filelock says in a warning that there is no flock; here it is said where it matters.
            warnings.simplefilter("ignore", UserWarning)
            held.acquire()
    except filelock.Timeout as error:
        kept_by = _holder(path) if isinstance(held, filelock.SoftFileLock) else ""
        raise FolderBusy(
            f"another process works in {printable(folder)}{kept_by}; wait until it ends, or choose "
            "another folder"
        ) from error
    try:
        yield
    finally:
        held.release()


def _holder(path: Path) -> str:
    """Who holds a lock on a file system without flock, where a lock is a file that says so."""
    try:
        lines = files.read(path, _LOCK_BYTES_AT_MOST).decode().split()
    except (OSError, ValueError):
        lines = []
    named = len(lines) > 1 and lines[0].isdecimal()
    who = f"process {lines[0]} on {printable(lines[1], 80)}" if named else "which one is not known"
    return f" ({who}; if there is none, remove {printable(path)})"


class Log(tuple[dict[str, Any], ...]):
    """Records that are encoded once each, however often the log is written as it grows.

    Attributes:
        encoded: See `encode_records`.
    """

    encoded: bytes

    def add(self, record: dict[str, Any]) -> "Log":
        """The log with one more record.

        Raises:
            ValueError: The record holds a value that JSON lacks, such as NaN.
        """
        longer = Log((*self, record))
        longer.encoded = self.encoded + encode_records([record])
        return longer

    @classmethod
    def of(cls, records: Iterable[dict[str, Any]]) -> "Log":
        """The log of some records.

        Raises:
            ValueError: A record holds a value that JSON lacks, such as NaN.
        """
        log = cls(records)
        log.encoded = encode_records(list(log))
        return log


def encode_records(records: Iterable[Record]) -> bytes:
    """One line of JSON a record, the same bytes for the same records.

    Raises:
        ValueError: A record holds a value that JSON lacks, such as NaN.
    """
    if isinstance(records, Log):
        return records.encoded
    lines = (json.dumps(record, allow_nan=False) for record in records)
    return "".join(line + "\n" for line in lines).encode()


def decode_records(data: bytes) -> tuple[dict[str, Any], ...]:
    """Inverse of `encode_records`.

    Raises:
        ValueError: A line is not a JSON object.
    """
    records = tuple(json.loads(line) for line in data.decode().split("\n") if line)
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a line of the log is not an object")
    return records


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Replaces a log by exactly these records, unless it holds them already.

    Raises:
        OSError: The log could not be written; the old one is as it was.
    """
    data = encode_records(records)
    try:
        unchanged = files.read(path, len(data)) == data
    except (OSError, ValueError):
        unchanged = False
    if not unchanged:
        files.write_atomic(path, data)


def read_records(path: Path) -> tuple[dict[str, Any], ...]:
    """Records of a log; none where there is no log.

    Raises:
        ValueError: The file is not a log.
    """
    try:
        return decode_records(files.read(path, _LOG_BYTES_AT_MOST))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a log of events: {error}") from error


def clear(folder: Path, names: Sequence[str]) -> None:
    """Removes the named files and folders of a run, in this order, and nothing else.

    A named folder disappears at once: it is renamed first and emptied afterwards.

    Raises:
        ValueError: A name is not one of the folder's own entries.
        OSError: Something could not be removed.
    """
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(f"{name!r} does not name an entry of {folder}")
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Removes a folder so that a crash leaves it whole, or gone under its name.

    Raises:
        OSError: It could not be renamed or emptied.
    """
    trash = path.with_name(f".trash-{path.name}")
    remove_tree(trash)
    path.rename(trash)
    remove_tree(trash)


def remove_tree(path: Path) -> None:
    """Removes a folder, or a link in its place, but never what a link points to.

    Raises:
        OSError: It could not be emptied.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
