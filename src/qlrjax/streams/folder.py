"""People's own images: session/object/*.jpg, or object/*.jpg with sessions cut by frame order."""

import hashlib
import logging
from pathlib import Path

import numpy as np

from qlrjax.names import printable
from qlrjax.streams import cut, layout
from qlrjax.streams.layout import Labelled, Layout, Progress, Scan
from qlrjax.streams.photos import left_out, natural, read_photo
from qlrjax.streams.stream import ImageSource, Stream

_LOGGER = logging.getLogger(__name__)


def source(
    root: Path,
    resolution: tuple[int, int],
    sessions: int = 4,
    strict: bool = False,
    on_progress: Progress | None = None,
) -> ImageSource:
    """Images of a folder in natural order; their size does not matter.

    Files that are no images, and photos that cannot be read, are left out and told in a log line.

    Args:
        root: session/object/images, where every object has the same name in every session; or
            object/images, which are cut into `sessions` slices of neighbouring frames, the last
            of which should be the test session.
        resolution: (height, width), pixels.
        sessions: See `root`.
        strict: A photo that cannot be read is an error.
        on_progress: Called with (what, done, total) while all photos are read once.

    Raises:
        ValueError: The folder is missing, is empty, or mixes both layouts; or an object has fewer
            images than slices; or a photo is bad, if that is strict.
    """
    found = layout.find(root)
    scanned = layout.scan(found, on_progress)
    if scanned.bad and (strict or not scanned.good):
        raise ValueError(scanned.bad[0].reason)
    _say_what_is_left_out(found, scanned)
    paths = [row.path for row in scanned.good]
    names = sorted({row.item for row in scanned.good}, key=natural)
    label_of = {name: label for label, name in enumerate(names)}

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([read_photo(paths[int(index)], resolution) for index in indices])

    return ImageSource(
        name=root.resolve().name,
        class_names=tuple(names),
        labels=np.array([label_of[row.item] for row in scanned.good], np.int32),
        sessions=_sessions(found, scanned.good, sessions),
        frames=np.arange(len(paths), dtype=np.int32),
        in_hw=resolution,
        read=read,
        digest=_digest(root, scanned),
    )


def stream(
    root: Path,
    resolution: tuple[int, int],
    sessions: int,
    test_sessions: tuple[int, ...],
    rule: cut.Rule,
    strict: bool = False,
    on_progress: Progress | None = None,
) -> Stream:
    """A folder as a stream by the NICv2 rule.

    Sessions with distinct numbers for names (s1, s2, or 1, 2) have those numbers, others are
    numbered from 1 in natural order. Without `test_sessions`, the last one is the test set.

    Raises:
        ValueError: Like `source`; or a test session is missing, or none is left to learn from.
    """
    images = source(root, resolution, sessions, strict, on_progress)
    known = sorted({int(session) for session in images.sessions})
    held_out = test_sessions or (known[-1],)
    missing = sorted(set(held_out) - set(known))
    if missing or not set(known) - set(held_out):
        raise ValueError(
            f"{root} has sessions {known}; the test sessions {sorted(held_out)} must be among "
            "them and leave at least one to learn from"
        )
    return cut.by_nicv2_rule(images, held_out, rule)


def _say_what_is_left_out(found: Layout, scanned: Scan) -> None:
    if scanned.bad:
        _LOGGER.warning("%s: %s", printable(found.root), left_out(scanned.bad, len(found.photos)))
    if found.others:
        _LOGGER.warning(
            "%s: %d files that are no images, or lie elsewhere, are left out",
            printable(found.root),
            found.others,
        )


def _sessions(found: Layout, good: tuple[Labelled, ...], sessions: int) -> np.ndarray:
    """int32[n]: by the names of the sessions, or by place among the object's images."""
    if found.has_sessions:
        numbers = layout.session_numbers(list(dict.fromkeys(row.session for row in found.photos)))
        return np.array([numbers[row.session] for row in good], np.int32)
    count: dict[str, int] = {}
    for row in good:
        count[row.item] = count.get(row.item, 0) + 1
    for item, images in count.items():
        if images < sessions:
            raise ValueError(
                f"folder {printable(found.root / item)} holds {images} images, which cannot be cut "
                f"into {sessions} sessions; add images, or set sessions lower"
            )
    place = dict.fromkeys(count, 0)
    cuts = []
    for row in good:
        cuts.append(1 + place[row.item] * sessions // count[row.item])
        place[row.item] += 1
    return np.array(cuts, np.int32)


def _digest(root: Path, scanned: Scan) -> str:
    hasher = hashlib.sha256()
    for row, content in zip(scanned.good, scanned.digests, strict=True):
        name = row.path.relative_to(root).as_posix()
        hasher.update(f"{name}:{content};".encode(errors="surrogateescape"))
    return hasher.hexdigest()
