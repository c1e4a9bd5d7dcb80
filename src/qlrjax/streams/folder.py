"""People's own images: session/object/*.jpg, or object/*.jpg with sessions cut by frame order."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qlrjax.streams import cut
from qlrjax.streams.photos import is_photo, natural, read_photo
from qlrjax.streams.stream import ImageSource, Stream

_LOGGER = logging.getLogger(__name__)


class _Image(NamedTuple):
    session: int
    item: str
    path: Path


def source(root: Path, resolution: tuple[int, int], sessions: int = 4) -> ImageSource:
    """Images of a folder in natural order; their size does not matter.

    Files that are no images are left out, and counted in a log line.

    Args:
        root: session/object/images, where every object has the same name in every session; or
            object/images, which are cut into `sessions` slices of neighbouring frames, the last
            of which should be the test session.
        resolution: (height, width), pixels.
        sessions: See `root`.

    Raises:
        ValueError: The folder is missing, is empty, or mixes both layouts; or an object has fewer
            images than slices. A damaged image is named when it is read.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    found = _list(root, sessions)
    names = sorted({image.item for image in found}, key=natural)
    label_of = {name: label for label, name in enumerate(names)}
    paths = [image.path for image in found]

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([read_photo(paths[int(index)], resolution) for index in indices])

    return ImageSource(
        name=root.resolve().name,
        class_names=tuple(names),
        labels=np.array([label_of[image.item] for image in found], np.int32),
        sessions=np.array([image.session for image in found], np.int32),
        frames=np.arange(len(found), dtype=np.int32),
        in_hw=resolution,
        read=read,
        digest=_digest(root, paths),
    )


def stream(
    root: Path,
    resolution: tuple[int, int],
    sessions: int,
    test_sessions: tuple[int, ...],
    first_classes: int,
    pairs_per_event: int,
    seed: int,
) -> Stream:
    """A folder as a stream by the NICv2 rule.

    Sessions with distinct numbers for names (s1, s2, or 1, 2) have those numbers, others are
    numbered from 1 in natural order. Without `test_sessions`, the last one is the test set.

    Raises:
        ValueError: Like `source`; or a test session is missing, or none is left to learn from.
    """
    images = source(root, resolution, sessions)
    known = sorted({int(session) for session in images.sessions})
    held_out = test_sessions or (known[-1],)
    missing = sorted(set(held_out) - set(known))
    if missing or not set(known) - set(held_out):
        raise ValueError(
            f"{root} has sessions {known}; the test sessions {sorted(held_out)} must be among "
            "them and leave at least one to learn from"
        )
    return cut.by_nicv2_rule(images, held_out, first_classes, pairs_per_event, seed)


def _list(root: Path, sessions: int) -> list[_Image]:
    """All images by session, object and name, in natural order."""
    objects = {top: _images(top) for top in _folders(root)}
    nested = {
        top: {item: _images(item) for item in _folders(top)} for top in objects if not objects[top]
    }
    nested = {top: items for top, items in nested.items() if any(items.values())}
    objects = {top: images for top, images in objects.items() if images}
    if nested and objects:
        raise ValueError(
            f"folder {root} mixes session/object/images ({next(iter(nested)).name}) with "
            f"object/images ({next(iter(objects)).name}); choose one of them"
        )
    if not nested and not objects:
        raise ValueError(
            f"folder {root} holds no images; it should be session/object/images or object/images"
        )
    found = _two_levels(nested) if nested else _one_level(objects, sessions)
    files = sum(1 for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    if files > len(found):
        _LOGGER.warning(
            "%s: %d files that are no images, or lie elsewhere, are left out",
            root,
            files - len(found),
        )
    return found


def _two_levels(sessions: dict[Path, dict[Path, list[Path]]]) -> list[_Image]:
    digits = [session.name.lstrip("sS") for session in sessions]
    numbers = list(range(1, len(sessions) + 1))
    # scenes50 and CORe50 number their sessions.
    if all(name.isdecimal() for name in digits) and len({*map(int, digits)}) == len(digits):
        numbers = [int(name) for name in digits]
    return [
        _Image(number, item.name, path)
        for number, items in zip(numbers, sessions.values(), strict=True)
        for item, images in items.items()
        for path in images
    ]


def _one_level(objects: dict[Path, list[Path]], sessions: int) -> list[_Image]:
    for item, images in objects.items():
        if len(images) < sessions:
            raise ValueError(
                f"folder {item} holds {len(images)} images, which cannot be cut into {sessions} "
                "sessions; add images, or set sessions lower"
            )
    return [
        _Image(1 + index * sessions // len(images), item.name, path)
        for item, images in objects.items()
        for index, path in enumerate(images)
    ]


def _digest(root: Path, paths: list[Path]) -> str:
    hasher = hashlib.sha256()
    for path in paths:
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"photo {path} cannot be read: {error.strerror}") from error
        hasher.update(f"{path.relative_to(root).as_posix()}:{content};".encode())
    return hasher.hexdigest()


def _folders(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."]
    return sorted(inside, key=lambda entry: natural(entry.name))


def _images(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if is_photo(entry)]
    return sorted(inside, key=lambda entry: natural(entry.name))
