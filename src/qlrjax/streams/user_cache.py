"""Where prepared data lies that can be made again: the user's cache folder."""

import shutil
from pathlib import Path

import platformdirs

from qlrjax import caches


def folder() -> Path:
    """The user's cache folder for this program; it need not be there."""
    return caches.root() or platformdirs.user_cache_path("qlrjax", appauthor=False)


def check_room(place: Path, needed: int, what: str) -> None:
    """Refuses to begin what the disk cannot hold.

    Args:
        place: A folder, which need not be there yet.
        needed: Bytes.
        what: For the sentence.

    Raises:
        ValueError: There is less room.
    """
    existing = next(path for path in (place, *place.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ValueError(
            f"{what} takes {needed / 1e9:.2f} GB, and {place} has {free / 1e9:.2f} GB left; make "
            "room, or name another folder with --data-dir"
        )
