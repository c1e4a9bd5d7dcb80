"""CORe50 (Lomonaco and Maltoni 2017): 50 objects, 11 sessions, 164,866 frames of 128x128.

Reads the official layout sS/oO/C_SS_OO_FFF.png (also .jpg) from the extracted folder or straight
from the zip, once, into an uint8 array on disk that is memory-mapped from then on.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from qlrjax.streams import archive, core50_lists, cut, nicv2, photos
from qlrjax.streams.core50_cache import Progress, is_made, open_or_make
from qlrjax.streams.core50_lists import lup_events
from qlrjax.streams.stream import ImageSource, Stream
from qlrjax.streams.user_cache import folder as user_cache

TEST_SESSIONS = tuple(core50_lists.TEST_FRAMES)
_RULE = cut.Rule(first_classes=10)
# Every object up to the last is a class, whether there are images of it or not.
_NUMBER_AT_MOST = 10_000
_FRAME = re.compile(r"(?:^|/)s(\d+)/o(\d+)/C_(\d+)_(\d+)_(\d+)\.(?:png|jpg)$")


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the data set.

    Attributes:
        session: From 1.
        item: The object, from 1.
        number: Within session and object.
        name: Path inside the folder or zip.
        stamp: What changes when the file does.
    """

    session: int
    item: int
    number: int
    name: str
    stamp: str


def find_frames(root: Path) -> list[Frame]:
    """All frames of a folder or zip, by session, object and number.

    Raises:
        ValueError: `root` is missing, is neither a folder nor a zip, holds no frames, or holds one
            twice.
    """
    if root.is_dir():
        names = _walk(root)
    elif root.suffix == ".zip" and root.is_file():
        with _open_zip(root) as packed:
            members = archive.check_zip(packed, str(root), root.stat().st_size)
            names = [(info.filename, f"{info.file_size}:{info.CRC}") for info in members]
    else:
        raise ValueError(f"there is no CORe50 folder or zip {root}")
    frames = []
    for name, stamp in names:
        if match := _FRAME.search(name):
            session, item, session_again, item_again, number = map(int, match.groups())
            if (session, item) != (session_again, item_again) or not session or not item:
                raise ValueError(f"{root}: the name of frame {name} does not fit its folder")
            if max(session, item) > _NUMBER_AT_MOST or number >= 2**31:
                raise ValueError(
                    f"{root}: frame {name} has a number that no such data has; sessions and "
                    f"objects count up to {_NUMBER_AT_MOST}"
                )
            frames.append(Frame(session, item, number, name, stamp))
    if not frames:
        raise ValueError(f"{root} holds no frames sS/oO/C_SS_OO_FFF.png; is it CORe50?")
    frames.sort(key=lambda frame: (_key(frame), frame.name))
    for first, second in itertools.pairwise(frames):
        if _key(first) == _key(second):
            raise ValueError(f"{root} has one frame twice: {first.name} and {second.name}")
    return frames


def source(
    root: Path,
    resolution: tuple[int, int],
    cache_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> ImageSource:
    """All frames of CORe50 as images, through the array on disk.

    Args:
        root: Folder or zip.
        resolution: (height, width); other than 128x128 is scaled when the array is made.
        cache_dir: Where the array lies, 49 kB a frame; the user's cache folder by default.
        on_progress: Called with (what, done, total) while the array is made.

    Raises:
        ValueError: A frame is damaged (named), or the array cannot be written.
    """
    frames = find_frames(root)
    listing, stamps = hashlib.sha256(), hashlib.sha256()
    for frame in frames:
        listing.update(f"{_key(frame)};".encode())
        stamps.update(f"{frame.name}:{frame.stamp};".encode())
    name = root.resolve().name.removesuffix(".zip")
    stem = f"{name}-{resolution[0]}x{resolution[1]}-{stamps.hexdigest()[:12]}"
    beside = root.resolve().parent / stem
    # Earlier versions wrote beside the data; what lies there is good, and large.
    place = beside if cache_dir is None and is_made(beside) else (cache_dir or user_cache()) / stem
    cached = open_or_make(
        place,
        (len(frames), *resolution, 3),
        lambda: _pixels(root, frames, resolution),
        on_progress,
    )
    columns = np.array([_key(frame) for frame in frames], np.int32)
    # The same for folder and zip, PNG and JPEG, as long as the pixels are.
    listing.update(cached.digest.encode())
    return ImageSource(
        name=name,
        class_names=tuple(f"o{item}" for item in range(1, int(columns[:, 1].max()) + 1)),
        labels=columns[:, 1] - 1,
        sessions=columns[:, 0],
        frames=columns[:, 2],
        in_hw=resolution,
        read=cached.read,
        digest=listing.hexdigest(),
    )


def stream(
    images: ImageSource,
    scenario: int | None,
    run: int,
    reduced_test: bool,
    test_sessions: tuple[int, ...] = (),
    rule: cut.Rule = _RULE,
) -> Stream:
    """CORe50 frames as NICv2 events; label = object - 1.

    Args:
        images: From `source`.
        scenario: 79, 196 or 391 for the official order; None generates one by the NICv2 rule.
        run: Which official order, 0 to 9.
        reduced_test: Every 20th test frame, 2,249 of 44,972.
        test_sessions: Sessions never trained on; 3, 7 and 10 by default, as far as they exist.
        rule: Of a generated order.

    Raises:
        ValueError: The data lacks frames or sessions that the official order needs, or the order
            cannot be generated.
    """
    known = {int(session) for session in images.sessions}
    held_out = test_sessions or tuple(sorted(known & set(TEST_SESSIONS)))
    if scenario is None:
        return cut.by_nicv2_rule(images, held_out, rule, reduced_test)
    official = nicv2.official_order(scenario, run)
    core50_lists.check_complete(_triples(images), images.name)
    order = tuple(tuple((s, item - 1) for s, item in event) for event in official)
    return cut.by_sessions(images, held_out, order, reduced_test)


def check_lists(folder: Path, scenario: int, run: int) -> bool:
    """Compares the shipped order with the official lists in a folder, where they lie.

    Returns:
        Whether both files are there.

    Raises:
        ValueError: The lists are damaged, or hold other events.
    """
    if not all((folder / name).is_file() for name in ("paths.pkl", "LUP.pkl")):
        return False
    events, _ = lup_events(folder, f"nicv2_{scenario}", run)
    listed = []
    for event in events:
        matches = [_FRAME.search(name) for name in event]
        if not all(matches):
            raise ValueError(f"{folder}: paths.pkl has names that are no frames of CORe50")
        listed.append([(int(m[1]), int(m[2]), int(m[5])) for m in matches if m])
    try:
        core50_lists.check_against_pairs(listed, nicv2.official_order(scenario, run))
    except ValueError as error:
        raise ValueError(f"{folder}: NICv2-{scenario}, run {run}: {error}") from error
    return True


def _key(frame: Frame) -> tuple[int, int, int]:
    return frame.session, frame.item, frame.number


def _triples(images: ImageSource) -> list[tuple[int, int, int]]:
    columns = (images.sessions.tolist(), (images.labels + 1).tolist(), images.frames.tolist())
    return list(zip(*columns, strict=True))


def _walk(root: Path) -> list[tuple[str, str]]:
    found = []
    for folder, _, names in os.walk(root):
        place = Path(folder).relative_to(root).as_posix()
        for name in names:
            if name.startswith("C_"):
                status = os.stat(os.path.join(folder, name))
                found.append((f"{place}/{name}", f"{status.st_size}:{status.st_mtime_ns}"))
    return found


def read_files(root: Path, frames: Iterable[Frame]) -> Iterator[tuple[str, bytes]]:
    """Every frame's name, for error sentences, and its image file's content.

    Raises:
        ValueError: A frame cannot be read.
    """
    packed = None if root.is_dir() else _open_zip(root)
    with packed or contextlib.nullcontext():
        for frame in frames:
            name = f"frame {root}/{frame.name}"
            try:
                data = packed.read(frame.name) if packed else photos.read_file(root / frame.name)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise ValueError(f"{name} is damaged: {error}") from error
            except (OSError, RuntimeError, NotImplementedError) as error:
                raise ValueError(f"{name} cannot be read: {error}") from error
            yield name, data


def _pixels(root: Path, frames: list[Frame], resolution: tuple[int, int]) -> Iterator[np.ndarray]:
    for name, data in read_files(root, frames):
        yield photos.decode(data, name, resolution)


def _open_zip(root: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(root)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{root} is no readable zip: {error}") from error
