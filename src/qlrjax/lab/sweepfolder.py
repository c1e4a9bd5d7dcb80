"""Which folders are a sweep's, and what in them a sweep wrote; as `runs.marker` has it for runs.

A sweep's folder holds qlrjax-sweep.json from the first moment on. Only in such a folder are a
sweep.toml and tables replaced. Folders from before there were markers are known by their sessions.
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from qlrjax import files
from qlrjax.lab import learned, table
from qlrjax.names import printable
from qlrjax.runs import runfolder

FILE = "sweep.toml"
SCHEMA = 1
_SIZE_LIMIT_BYTES = 4096
_WRITTEN = (runfolder.SWEEP_MARKER, FILE, table.CSV, table.PARQUET, table.TIMING)


def look(folder: Path) -> None:
    """Refuses a folder that is neither new, empty nor a sweep's; changes nothing.

    Raises:
        ValueError: What is there is named.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{printable(folder)} is a file; name a folder for the sweep")
    if not folder.is_dir() or _is_marked(folder):
        return
    others = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    others = [path for path in others if path.name != runfolder.LOCK_NAME]
    if others and not _has_sessions(folder):
        raise ValueError(
            f"{printable(folder)} is not empty and holds no sweep (there is "
            f"{printable(others[0].name)!r}); name a new folder"
        )


def claim(folder: Path) -> None:
    """Marks the folder, and removes what killed processes left; the caller holds the lock.

    Raises:
        ValueError: The folder holds something else, or a link where a sweep writes.
        OSError: It cannot be read or written.
    """
    look(folder)
    for path in _places(folder):
        if path.is_symlink():
            raise ValueError(
                f"{printable(path)} is a link, and a sweep's own files are none; remove it, or "
                "name another folder"
            )
    if not _is_marked(folder):
        values = {"schema": SCHEMA, "id": secrets.token_hex(16)}
        files.write_atomic(folder / runfolder.SWEEP_MARKER, json.dumps(values) + "\n")
    for place in (folder, folder / learned.RESULTS):
        for path in place.glob(".*.tmp"):
            name = files.temporary_of(path.name) or ""
            if (name in _WRITTEN or place != folder) and path.is_file():
                path.unlink()


def _is_marked(folder: Path) -> bool:
    path = folder / runfolder.SWEEP_MARKER
    try:
        schema = json.loads(files.read(path, _SIZE_LIMIT_BYTES))["schema"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{printable(path)} is not the marker of a sweep, or is damaged; remove it, and a "
            "sweep with a session is recognised again"
        ) from error
    if schema != SCHEMA:
        raise ValueError(
            f"{printable(folder)} is a sweep of format {str(schema)[:20]}, this qlrjax reads "
            f"format {SCHEMA}; use the version that wrote it"
        )
    return True


def _has_sessions(folder: Path) -> bool:
    sessions = folder / learned.SESSIONS
    return (folder / FILE).is_file() and any(sessions.glob(f"*/{runfolder.RUN_MARKER}"))


def _places(folder: Path) -> Iterator[Path]:
    """Wherever a sweep writes."""
    for name in (*_WRITTEN, learned.SESSIONS, learned.RESULTS):
        yield folder / name
    if not (folder / learned.SESSIONS).is_symlink():
        yield from sorted((folder / learned.SESSIONS).glob("*"))
