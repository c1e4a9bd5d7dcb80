"""How people lay out labelled photos: session/object/images, or object/images."""

import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from qlrjax.names import check_class, printable
from qlrjax.streams import photos
from qlrjax.streams.photos import Bad, is_photo, natural

Progress = Callable[[str, int, int], None]
_AT_ONCE = 4


class Labelled(NamedTuple):
    """A photo and what its folders say of it.

    Attributes:
        session: Name of the session's folder; empty where there is none.
        item: Name of the object's folder, its class.
        path: The file.
    """

    session: str
    item: str
    path: Path


@dataclasses.dataclass(frozen=True)
class Layout:
    """The photos of a folder, by session, object and name, in natural order.

    Attributes:
        root: The folder.
        photos: All files that look like photos and lie where they should.
        others: How many files there are besides, hidden ones not counted.
    """

    root: Path
    photos: tuple[Labelled, ...]
    others: int

    @property
    def has_sessions(self) -> bool:
        """Whether folders of sessions lie above those of objects."""
        return bool(self.photos[0].session)


@dataclasses.dataclass(frozen=True)
class Scan:
    """What reading every file of a layout gave.

    Attributes:
        good: The photos that can be decoded.
        digests: SHA-256 in hex of each good file, in their order.
        bad: The others.
    """

    good: tuple[Labelled, ...]
    digests: tuple[str, ...]
    bad: tuple[Bad, ...]


def find(root: Path) -> Layout:
    """Looks through a folder without opening a file.

    Raises:
        ValueError: The folder is missing, is empty, or mixes both layouts; or the name of an
            object's folder is none that a class can have.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {printable(root)}")
    objects = {top: _images(top) for top in _folders(root)}
    nested = {
        top: {item: _images(item) for item in _folders(top)} for top in objects if not objects[top]
    }
    nested = {top: items for top, items in nested.items() if any(items.values())}
    objects = {top: images for top, images in objects.items() if images}
    if nested and objects:
        raise ValueError(
            f"folder {printable(root)} mixes session/object/images "
            f"({printable(next(iter(nested)).name)}) with object/images "
            f"({printable(next(iter(objects)).name)}); choose one of them"
        )
    if not nested and not objects:
        raise ValueError(
            f"folder {printable(root)} holds no images; it should be session/object/images or "
            "object/images"
        )
    sessions = [(session.name, items) for session, items in nested.items()] or [("", objects)]
    found = tuple(
        Labelled(session, item.name, path)
        for session, items in sessions
        for item, images in items.items()
        for path in images
    )
    for name in dict.fromkeys(row.item for row in found):
        check_class(name, f"in {printable(root)}, the folder")
    files = sum(1 for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    return Layout(root, found, files - len(found))


def scan(layout: Layout, on_progress: Progress | None = None) -> Scan:
    """Reads every file once, for its digest and to see whether it can be decoded.

    Args:
        layout: From `find`.
        on_progress: Called with (what, done, total).
    """
    good, digests, bad = [], [], []
    with concurrent.futures.ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        for done, (row, (digest, reason)) in enumerate(
            zip(layout.photos, pool.map(_examine, layout.photos), strict=True), start=1
        ):
            if reason:
                bad.append(Bad(row.path, reason))
            else:
                good.append(row)
                digests.append(digest)
            if on_progress and (done % 16 == 0 or done == len(layout.photos)):
                on_progress("checking photos", done, len(layout.photos))
    return Scan(tuple(good), tuple(digests), tuple(bad))


def session_numbers(names: Sequence[str]) -> dict[str, int]:
    """Names with distinct numbers (s1, s2, or 1, 2) have those, others count from 1 in order."""
    digits = [name.lstrip("sS") for name in names]
    # scenes50 and CORe50 number their sessions; int32 holds what anyone would write.
    if all(name.isdecimal() and int(name) < 2**31 for name in digits):
        numbers = [int(name) for name in digits]
        if len(set(numbers)) == len(numbers):
            return dict(zip(names, numbers, strict=True))
    return {name: number for number, name in enumerate(names, start=1)}


def _examine(row: Labelled) -> tuple[str, str]:
    """Digest of a file and, if it is bad, the reason."""
    try:
        data = photos.read_file(row.path)
        photos.check(data, f"photo {printable(row.path)}")
    except ValueError as error:
        return "", str(error)
    return hashlib.sha256(data).hexdigest(), ""


def _folders(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."]
    return sorted(inside, key=lambda entry: natural(entry.name))


def _images(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if is_photo(entry)]
    return sorted(inside, key=lambda entry: natural(entry.name))
