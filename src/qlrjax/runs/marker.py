"""Which folders are a run's, and what in them a run wrote.

A run's folder holds qlrjax-run.json from the first moment on: the format's number and a random id,
which every checkpoint repeats. Only in such a folder is anything replaced or removed, and only what
a run writes, by name and by that id. Folders from before there were markers are known by an intact
checkpoint, and get theirs.
"""

import dataclasses
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from qlrjax import files
from qlrjax.names import printable
from qlrjax.runs import checkpoint, runfolder, snapshot

NAME, SCHEMA = runfolder.RUN_MARKER, 1
CHECKPOINTS, SETTINGS, EVENTS, STAGE = "checkpoints", "settings.toml", "events.jsonl", "frozen.npz"
FIDELITY, TIMING, HISTORY = "fidelity.csv", "timing.jsonl", "history.jsonl"
ACCURACY, SUMMARY, REPORT = "accuracy.csv", "summary.json", "report.png"
EXPORT, TENSORBOARD = runfolder.EXPORT, "tensorboard"
# Runs of the same stream without replays, for contrast.
PARTS = ("no-replay", "no-replay-cwrstar")
# In the order in which --fresh removes them: without checkpoints, nothing else is believed.
_RESULTS = (SETTINGS, STAGE, FIDELITY, EVENTS, TIMING, HISTORY, ACCURACY, SUMMARY, REPORT)
_KEPT = (NAME, runfolder.LOCK_NAME, EXPORT, TENSORBOARD)
_STEP = re.compile(r"\.draft-[0-9]{8}|(?:\.trash-)?[0-9]{8}(?:\.corrupt-[0-9]+)?")
_ID = re.compile(r"[0-9a-f]{32}")
_SIZE_LIMIT_BYTES = 4096


class NotOurs(ValueError):
    """A folder, or something in it, was not written by a run."""


@dataclasses.dataclass(frozen=True)
class Marker:
    """What makes a folder a run's.

    Attributes:
        id: 32 hexadecimal digits, drawn once.
        part_of: The id of the run in whose folder this one lies; empty for most.
        adopted: The run is older than its marker, so its first checkpoints do not repeat the id.
    """

    id: str
    part_of: str = ""
    adopted: bool = False

    def owns(self, other: str | None) -> bool:
        """Whether a checkpoint that says this id, or none, is the run's."""
        return other == self.id or (other is None and self.adopted)


def read(folder: Path) -> Marker | None:
    """The marker of a folder; None where there is none.

    Raises:
        NotOurs: There is a file of that name that is no marker.
    """
    path = folder / NAME
    try:
        values = json.loads(files.read(path, _SIZE_LIMIT_BYTES))
        schema = values["schema"]
        found = Marker(str(values["id"]), str(values["part_of"]), values["adopted"] is True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotOurs(
            f"{printable(path)} is not the marker of a run, or is damaged; put a good copy back, "
            "or remove it, and a run with an intact checkpoint is recognised again"
        ) from error
    if schema != SCHEMA:
        raise NotOurs(
            f"{printable(folder)} is a run of format {str(schema)[:20]}, this qlrjax reads format "
            f"{SCHEMA}; use the version that wrote it"
        )
    if not _ID.fullmatch(found.id) or (found.part_of and not _ID.fullmatch(found.part_of)):
        raise NotOurs(f"{printable(path)} holds no id of a run; put a good copy back")
    return found


def look(folder: Path) -> None:
    """Refuses a folder that is neither new, empty nor a run's; changes nothing.

    Raises:
        NotOurs: What is there is named.
        OSError: It cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise NotOurs(f"{printable(folder)} is a file; name a folder for the run")
    if not folder.is_dir() or read(folder) is not None:
        return
    if _old_id(folder) is None:
        _refuse_foreign(folder)


def claim(folder: Path) -> Marker:
    """The folder's marker, made first where it has none; the caller holds the lock.

    Raises:
        NotOurs: The folder holds something else, or a link where a run writes.
        OSError: It cannot be read or written.
    """
    look(folder)
    found = read(folder)
    if found is None:
        old = _old_id(folder)
        above = read(folder.parent) if folder.name in PARTS else None
        part_of = above.id if above else ""
        found = Marker(old or secrets.token_hex(16), part_of, adopted=old == "")
        create(folder, found)
    refuse_links(folder)
    sweep(folder)
    return found


def create(folder: Path, marker: Marker) -> None:
    """Writes the marker into a folder that has none.

    Raises:
        OSError: It could not be written.
    """
    files.write_atomic(
        folder / NAME, json.dumps({"schema": SCHEMA, **dataclasses.asdict(marker)}) + "\n"
    )


def refuse_links(folder: Path) -> None:
    """Refuses links where a run writes: they could lead anywhere.

    Raises:
        NotOurs: There is one; it is named.
    """
    names = (*_KEPT, *_RESULTS, CHECKPOINTS, *PARTS)
    places = [folder / name for name in names]
    places += [folder / CHECKPOINTS / path.name for path in _entries(folder / CHECKPOINTS)]
    for path in places:
        if path.is_symlink():
            raise NotOurs(
                f"{printable(path)} is a link, and a run's own files are none; remove it, or name "
                "another folder"
            )


def sweep(folder: Path) -> None:
    """Removes what killed processes left behind; the lock keeps live ones out.

    Raises:
        OSError: Something could not be removed.
    """
    for path in _entries(folder):
        if files.temporary_of(path.name) in (*_RESULTS, NAME) and path.is_file():
            path.unlink()
        elif path.name in [f".trash-{name}" for name in (CHECKPOINTS, *PARTS)]:
            runfolder.remove_tree(path)


def clear(folder: Path, marker: Marker) -> None:
    """Removes what the run wrote: all of it, or nothing when there is anything else.

    The marker, the lock and exports stay.

    Raises:
        NotOurs: Something in the folder is not the run's; it is named and nothing is removed.
        OSError: Something could not be removed.
    """
    for path in foreign(folder, marker):
        raise NotOurs(
            f"{printable(path)} was not written by the run in {printable(folder)}, so --fresh "
            "removes nothing; move it away, or name another folder"
        )
    runfolder.clear(folder, (CHECKPOINTS, *_RESULTS, *PARTS))


def foreign(folder: Path, marker: Marker) -> Iterator[Path]:
    """Everything in a run's folder that the run did not write, hidden files apart."""
    for path in _entries(folder):
        known = path.name in (*_KEPT, *_RESULTS, CHECKPOINTS, *PARTS)
        plain = path.is_file() and not path.is_symlink()
        if path.name in _RESULTS and not plain:
            yield path
        elif path.name == CHECKPOINTS:
            yield from _foreign_checkpoints(path, marker)
        elif path.name in PARTS:
            yield from _foreign_part(path, marker)
        elif not known and not path.name.startswith("."):
            yield path


def _foreign_checkpoints(folder: Path, marker: Marker) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        yield folder
    for place in _entries(folder):
        if place.is_symlink() or not place.is_dir() or not _STEP.fullmatch(place.name):
            yield place
            continue
        try:
            described = snapshot.read_manifest(place)
        except (snapshot.Damaged, ValueError):
            described = None  # half written, or damaged: then its name has to do
        if described is not None and not marker.owns(described.extra.get("run")):
            yield place
        yield from snapshot.foreign(place, described)


def _foreign_part(folder: Path, marker: Marker) -> Iterator[Path]:
    own = None if folder.is_symlink() or not folder.is_dir() else read(folder)
    if own is None and not folder.is_symlink() and marker.adopted and _old_id(folder) == "":
        own = Marker(secrets.token_hex(16), marker.id, adopted=True)
    if own is None or own.part_of not in ("", marker.id):
        yield folder
    else:
        yield from foreign(folder, own)


def _old_id(folder: Path) -> str | None:
    """The id that an intact checkpoint repeats, "" from before there were ids, None without one."""
    described = checkpoint.peek(folder / CHECKPOINTS)
    if described is None:
        return None
    found = described.extra.get("run", "")
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""


def _refuse_foreign(folder: Path) -> None:
    others = [path for path in _entries(folder) if not _is_nothing(path)]
    if others:
        raise NotOurs(
            f"{printable(folder)} is not empty and holds no run (there is "
            f"{printable(others[0].name)!r}); name a new folder"
        )


def _is_nothing(path: Path) -> bool:
    # A lock without a marker is all that a process killed in its first moment leaves.
    return path.name.startswith(".") or (path.name == runfolder.LOCK_NAME and path.is_file())


def _entries(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
