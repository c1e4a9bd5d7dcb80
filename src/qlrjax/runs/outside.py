"""Where exports may be written: never over a run's own files, nor over anything unasked."""

import os
from collections.abc import Iterator
from pathlib import Path

from qlrjax.names import printable
from qlrjax.runs import runfolder


def check(out: Path, run: Path, force: bool = False) -> None:
    """Refuses a place that holds something else already.

    Args:
        out: File or folder to write.
        run: The run that is exported; its folder `export` is for this, and may be written again.
        force: Replace a file, or write into a folder that is not empty.

    Raises:
        ValueError: The place is taken, or lies inside a run's folder.
    """
    place = out.absolute()
    own = (run / runfolder.EXPORT).absolute()
    for path in _links(place, own):
        raise ValueError(f"{printable(path)} is a link; remove it, or name a place with --out")
    if place.is_relative_to(own) and ".." not in place.parts:
        return
    for folder in (place, *place.resolve().parents):
        if folder.is_dir() and (folder / runfolder.RUN_MARKER).exists():
            raise ValueError(
                f"{printable(out)} lies in the folder of a run ({printable(folder)}); name a place "
                f"outside, or leave --out away for {printable(own)}"
            )
    taken = place.is_dir() and any(place.iterdir())
    if (taken or (place.exists() and not place.is_dir()) or place.is_symlink()) and not force:
        what = "is a folder with something in it" if taken else "is there already"
        raise ValueError(f"{printable(out)} {what}; name another place, or give --force")


def check_file(out: Path, force: bool = False, own_start: bytes = b"") -> None:
    """Refuses a file that is there already, or that lies where a run or a sweep keeps its own.

    Args:
        out: File to write.
        force: Replace it.
        own_start: What such a file of ours begins with; one that does is replaced unasked.

    Raises:
        ValueError: The place is taken.
    """
    for folder in out.absolute().resolve().parents:
        for name, what in ((runfolder.RUN_MARKER, "run"), (runfolder.SWEEP_MARKER, "sweep")):
            if (folder / name).exists():
                raise ValueError(
                    f"{printable(out)} lies in the folder of a {what} ({printable(folder)}); name "
                    "a place outside"
                )
    if out.is_dir():
        raise ValueError(f"{printable(out)} is a folder; name a file")
    if (out.exists() or out.is_symlink()) and not force and not _begins(out, own_start):
        raise ValueError(f"{printable(out)} is there already; name another file, or give --force")


def _begins(path: Path, start: bytes) -> bool:
    if not start or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _links(place: Path, own: Path) -> Iterator[Path]:
    """Links that would lead an export elsewhere: on the way to it, and folders in its place."""
    way = [path for path in (place, *place.parents) if path.is_relative_to(own)]
    yield from (path for path in reversed(way) if path.is_symlink())
    for root, folders, _ in os.walk(place):
        yield from (Path(root, name) for name in folders if Path(root, name).is_symlink())
