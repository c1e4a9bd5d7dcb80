"""CORe50 (Lomonaco and Maltoni 2017): 50 objects, 11 sessions, 164,866 frames of 128x128.

Reads the official layout sS/oO/C_SS_OO_FFF.png (also .jpg) from the extracted folder or straight
from the zip, once, into an uint8 array on disk that is memory-mapped from then on.
"""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qlrjax.streams import archive, cut, nicv2
from qlrjax.streams.stream import ImageSource, Stream

TEST_SESSIONS = (3, 7, 10)
_FRAME = re.compile(r"s(\d+)/o(\d+)/C_(\d\d)_(\d\d)_(\d{3})\.(?:png|jpg)$")

Frame = tuple[int, int, int, str]
Progress = Callable[[str, int, int], None]


def find_frames(root: Path) -> list[Frame]:
    """(session, object, frame, name inside the folder or zip), in that order.

    Raises:
        ValueError: `root` is missing, is neither a folder nor a zip, or holds no frames.
    """
    if root.is_dir():
        names = [path.relative_to(root).as_posix() for path in root.glob("**/s*/o*/C_*")]
    elif root.suffix == ".zip" and root.is_file():
        with _open_zip(root) as packed:
            names = [info.filename for info in archive.check_zip(packed, str(root))]
    else:
        raise ValueError(f"there is no CORe50 folder or zip {root}")
    frames = []
    for name in names:
        if match := _FRAME.search(name):
            session, item, session_again, item_again, frame = map(int, match.groups())
            if (session, item) != (session_again, item_again):
                raise ValueError(f"{root}: the name of frame {name} does not fit its folder")
            frames.append((session, item, frame, name))
    if not frames:
        raise ValueError(f"{root} holds no frames sS/oO/C_SS_OO_FFF.png; is it CORe50?")
    return sorted(frames)


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
        cache_dir: Where the array lies; beside the data by default, 49 kB a frame.
        on_progress: Called with (what, done, total) while the array is made.

    Raises:
        ValueError: A frame is damaged (named), or the array cannot be written.
    """
    frames = find_frames(root)
    listing = hashlib.sha256()
    for session, item, frame, name in frames:
        listing.update(f"{session},{item},{frame},{Path(name).name};".encode())
    digest = listing.hexdigest()
    folder = cache_dir or root.parent
    stem = f"{root.stem}-{resolution[0]}x{resolution[1]}-{digest[:12]}"
    array = _cached(folder / stem, root, frames, resolution, on_progress)
    objects = sorted({item for _, item, _, _ in frames})
    columns = np.array([frame[:3] for frame in frames], np.int32)
    return ImageSource(
        name=root.stem,
        class_names=tuple(f"o{item}" for item in range(1, max(*objects, 1) + 1)),
        labels=columns[:, 1] - 1,
        sessions=columns[:, 0],
        frames=columns[:, 2],
        in_hw=resolution,
        read=lambda indices: np.asarray(array[np.asarray(indices)]),
        digest=digest,
    )


def stream(
    images: ImageSource,
    scenario: int | None,
    run: int,
    reduced_test: bool,
    test_sessions: tuple[int, ...] = (),
    first_classes: int = 10,
    pairs_per_event: int = 1,
    seed: int = 0,
) -> Stream:
    """CORe50 frames as NICv2 events; label = object - 1.

    Args:
        images: From `source`.
        scenario: 79, 196 or 391 for the official order; None generates one by the NICv2 rule.
        run: Which official order, 0 to 9.
        reduced_test: Every 20th test frame, 2,249 of 44,972.
        test_sessions: Sessions never trained on; 3, 7 and 10 by default, as far as they exist.
        first_classes: For a generated order.
        pairs_per_event: Likewise.
        seed: Likewise.
    """
    known = {int(session) for session in images.sessions}
    held_out = test_sessions or tuple(sorted(known & set(TEST_SESSIONS)))
    if scenario is None:
        pairs = cut.training_pairs(images, held_out)
        order = nicv2.generate_order(pairs, first_classes, pairs_per_event, seed)
    else:
        official = nicv2.official_order(scenario, run)
        order = tuple(tuple((s, item - 1) for s, item in event) for event in official)
    return cut.by_sessions(images, held_out, order, reduced_test)


def lup_events(folder: Path, scenario: str, run: int) -> tuple[list[list[str]], list[str]]:
    """Frame names of every event and of the test set from the official paths.pkl and LUP.pkl.

    Raises:
        ValueError: A pickle is missing, is not plain data, or lacks the scenario.
    """
    try:
        paths: Any = archive.read_plain_pickle(folder / "paths.pkl")
        lookup: Any = archive.read_plain_pickle(folder / "LUP.pkl")
        batches = [[paths[index] for index in batch] for batch in lookup[scenario][run]]
    except OSError as error:
        raise ValueError(f"CORe50's list {error.filename} cannot be read") from error
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder}: LUP.pkl has no scenario {scenario!r}, run {run}") from error
    return batches[:-1], batches[-1]


def _cached(
    stem: Path,
    root: Path,
    frames: list[Frame],
    resolution: tuple[int, int],
    on_progress: Progress | None,
) -> np.ndarray:
    """The memory-mapped array; the marker is written last, so half an array is never used."""
    path, marker = stem.with_name(stem.name + ".npy"), stem.with_name(stem.name + ".json")
    shape = (len(frames), *resolution, 3)
    if marker.is_file() and path.is_file():
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if json.loads(marker.read_text()) == {"shape": list(shape)} and array.shape == shape:
            return array
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for index, pixels in enumerate(_pixels(root, frames, resolution)):
            array[index] = pixels
            if on_progress and (index % 64 == 63 or index + 1 == len(frames)):
                on_progress("preparing frames", index + 1, len(frames))
        array.flush()
        marker.unlink(missing_ok=True)
        partial.replace(path)
        marker.write_text(json.dumps({"shape": list(shape)}))
    except OSError as error:
        raise ValueError(
            f"the array of frames {path} cannot be written ({error.strerror}); it takes "
            f"{np.prod(shape) / 1e9:.2f} GB; name another folder with data_dir"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _pixels(root: Path, frames: list[Frame], resolution: tuple[int, int]) -> Iterator[np.ndarray]:
    if root.is_dir():
        for frame in frames:
            yield _decode((root / frame[3]).read_bytes(), f"{root}/{frame[3]}", resolution)
        return
    with _open_zip(root) as packed:
        for frame in frames:
            try:
                data = packed.read(frame[3])
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                raise ValueError(f"frame {frame[3]} in {root} is damaged: {error}") from error
            yield _decode(data, f"{root}/{frame[3]}", resolution)


def _decode(data: bytes, name: str, resolution: tuple[int, int]) -> np.ndarray:
    height, width = resolution
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"frame {name} is damaged: {error}") from error
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels)


def _open_zip(root: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{root} is no readable zip: {error}") from error
