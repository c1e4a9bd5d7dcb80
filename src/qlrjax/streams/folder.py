"""People's own images: session/object/*.jpg, or object/*.jpg with sessions cut by frame order."""

import hashlib
from pathlib import Path

import numpy as np

from qlrjax.streams import cut, nicv2
from qlrjax.streams.photos import SUFFIXES, natural, read_photo
from qlrjax.streams.stream import ImageSource, Stream


def source(root: Path, resolution: tuple[int, int], sessions: int = 4) -> ImageSource:
    """Images of a folder in natural order; their size does not matter.

    Args:
        root: session/object/images, where every object has the same name in every session; or
            object/images, which are cut into `sessions` slices of neighbouring frames, the last
            of which should be the test session.
        resolution: (height, width), pixels.
        sessions: See `root`.

    Raises:
        ValueError: The folder is missing, is empty, or mixes images and folders.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    found = _two_levels(root)
    if found is None:
        found = _one_level(root, sessions)
    if not found:
        raise ValueError(
            f"folder {root} holds no images; it should be session/object/images or object/images"
        )
    names = sorted({name for _, name, _ in found}, key=natural)
    label_of = {name: label for label, name in enumerate(names)}
    paths = [path for _, _, path in found]
    session = np.array([number for number, _, _ in found], np.int32)
    labels = np.array([label_of[name] for _, name, _ in found], np.int32)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root).as_posix()}:{path.stat().st_size};".encode())

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([read_photo(paths[int(index)], resolution) for index in indices])

    return ImageSource(
        root.name, tuple(names), labels, session, np.arange(len(paths), dtype=np.int32),
        resolution, read, digest.hexdigest(),
    )  # fmt: skip


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

    Sessions are numbered from 1 in natural order. Without `test_sessions`, the last one is the
    test set.
    """
    images = source(root, resolution, sessions)
    known = sorted({int(session) for session in images.sessions})
    held_out = test_sessions or (known[-1],)
    missing = sorted(set(held_out) - set(known))
    if missing or len(known) < 2:
        raise ValueError(
            f"{root} has sessions {known}; the test sessions {sorted(held_out)} must be among "
            "them and leave at least one to learn from"
        )
    pairs = cut.training_pairs(images, held_out)
    order = nicv2.generate_order(pairs, first_classes, pairs_per_event, seed)
    return cut.by_sessions(images, held_out, order)


def _two_levels(root: Path) -> list[tuple[int, str, Path]] | None:
    """(session number, object name, image) of session/object/images; None for object/images."""
    found = []
    for number, session in enumerate(_folders(root), start=1):
        objects = _folders(session)
        if not objects:
            return None
        # scenes50 and CORe50 number their sessions; others count in natural order.
        digits = session.name.lstrip("sS")
        number = int(digits) if digits.isdigit() else number
        for item in objects:
            found += [(number, item.name, path) for path in _images(item)]
    return found


def _one_level(root: Path, sessions: int) -> list[tuple[int, str, Path]]:
    found = []
    for item in _folders(root):
        images = _images(item)
        found += [
            (1 + index * sessions // len(images), item.name, path)
            for index, path in enumerate(images)
        ]
    return found


def _folders(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."]
    return sorted(inside, key=lambda entry: natural(entry.name))


def _images(path: Path) -> list[Path]:
    inside = [entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES]
    return sorted(inside, key=lambda entry: natural(entry.name))
