"""Frames decoded once into an uint8 array on disk, memory-mapped from then on.

Three files lie side by side: STEM.npy with the pixels, STEM.sums with a digest of every frame, and
STEM.json, written last, which says that they are whole. So a half-made array is never taken for
one, and a frame that has changed since is noticed whenever it is read.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import mmap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import filelock
import numpy as np

from qlrjax import files
from qlrjax.names import printable
from qlrjax.streams.user_cache import check_room

Progress = Callable[[str, int, int], None]

_LOGGER = logging.getLogger(__name__)
_FORMAT, _WITHOUT_SUMS = 3, 2
_SUM_BYTES = 16
_MARKER_BYTES_AT_MOST = 4096


@dataclasses.dataclass(frozen=True)
class FrameArray:
    """A whole array on disk.

    Attributes:
        array: uint8[n, h, w, 3], memory-mapped, read-only.
        sums: uint8[n, 16], BLAKE2b of every frame.
        digest: SHA-256 in hex of the pixels.
        stem: Path of the files without their endings.
    """

    array: np.ndarray
    sums: np.ndarray
    digest: str
    stem: Path

    def read(self, indices: np.ndarray) -> np.ndarray:
        """int64[k] indices to uint8[k, h, w, 3]; the pages read do not stay in this process.

        Raises:
            ValueError: A frame is not what was prepared.
        """
        indices = np.asarray(indices)
        pixels = np.asarray(self.array[indices])
        for index, frame in zip(indices.tolist(), pixels, strict=True):
            if _sum(frame.tobytes()) != self.sums[index].tobytes():
                raise ValueError(
                    f"frame {index} of the prepared array {printable(_pixels(self.stem))} is "
                    f"damaged; remove {printable(_marker(self.stem))}, and the same command "
                    "prepares the array again"
                )
        mapped = getattr(self.array, "_mmap", None)
        # Without this, a session over all of CORe50 would seem to hold its 8 GB; the system's
        # cache keeps the pages as long as there is room.
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        return pixels


def open_or_make(
    stem: Path,
    shape: tuple[int, int, int, int],
    frames: Callable[[], Iterator[np.ndarray]],
    on_progress: Progress | None = None,
) -> FrameArray:
    """The array at `stem`, made first where it is not whole.

    Args:
        stem: Path of both files without their endings; should name the content.
        shape: (n, h, w, 3).
        frames: Gives the n frames, uint8[h, w, 3] each; called only if they are needed.
        on_progress: Called with (what, done, total) while the array is made.

    Raises:
        ValueError: The array cannot be written there; or what `frames` raises.
    """
    if (whole := _open(stem, shape)) is not None:
        return whole
    needed = shape[0] * shape[1] * shape[2] * shape[3]
    check_room(stem.parent, needed, "the array of prepared frames")
    _LOGGER.warning(
        "preparing %d frames once, %.2f GB in %s (another folder: --data-dir)",
        shape[0],
        needed / 1e9,
        stem.parent,
    )
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        # A second process waits here, and then finds the array made.
        with filelock.FileLock(stem.with_name(stem.name + ".lock")):
            if (whole := _open(stem, shape)) is None:
                _make(stem, shape, frames(), on_progress)
                whole = _open(stem, shape)
    except OSError as error:
        raise ValueError(
            f"the array of frames {stem}.npy cannot be written ({error.strerror}); it takes "
            f"{np.prod(shape) / 1e9:.2f} GB; name another folder with data_dir"
        ) from error
    if whole is None:
        raise ValueError(f"the array of frames {stem}.npy was changed while it was made")
    return whole


def is_made(stem: Path) -> bool:
    """Whether a whole array lies there."""
    return _marker(stem).is_file() and _pixels(stem).is_file()


def _open(stem: Path, shape: tuple[int, ...]) -> FrameArray | None:
    """The array, or None if there is none, or none that is whole."""
    try:
        marker = json.loads(files.read(_marker(stem), _MARKER_BYTES_AT_MOST))
        if marker["shape"] != list(shape) or not _pixels(stem).is_file():
            return None
        array = np.load(_pixels(stem), mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != np.uint8:
            return None
        digest = str(marker["pixels_sha256"])
        if marker["format"] == _WITHOUT_SUMS:
            sums = _sum_up(stem, array, digest)
        elif marker["format"] == _FORMAT:
            sums = files.read(_sums(stem), _SUM_BYTES * shape[0])
            if hashlib.sha256(sums).hexdigest() != marker["sums_sha256"]:
                return None
        else:
            return None
        if sums is None or len(sums) != _SUM_BYTES * shape[0]:
            return None
        rows = np.frombuffer(sums, np.uint8).reshape(shape[0], _SUM_BYTES)
        return FrameArray(array, rows, digest, stem)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError):
        return None


def _sum_up(stem: Path, array: np.ndarray, digest: str) -> bytes | None:
    """Digests of the frames of an array from before there were any; None if it has changed since.

    They are kept beside it where that is possible.
    """
    hasher, sums = hashlib.sha256(), bytearray()
    for frame in array:
        data = frame.tobytes()
        hasher.update(data)
        sums += _sum(data)
    if hasher.hexdigest() != digest:
        return None
    with contextlib.suppress(OSError):
        _mark(stem, array.shape, digest, bytes(sums))
    return bytes(sums)


def _mark(stem: Path, shape: tuple[int, ...], digest: str, sums: bytes) -> None:
    """Says that the array is whole."""
    files.write_atomic(_sums(stem), sums)
    marker = {
        "format": _FORMAT,
        "shape": list(shape),
        "pixels_sha256": digest,
        "sums_sha256": hashlib.sha256(sums).hexdigest(),
    }
    files.write_atomic(_marker(stem), json.dumps(marker))


def _make(
    stem: Path,
    shape: tuple[int, int, int, int],
    frames: Iterable[np.ndarray],
    on_progress: Progress | None,
) -> None:
    _marker(stem).unlink(missing_ok=True)
    for left in stem.parent.iterdir():  # by a process that was killed; the lock keeps others out
        own = (_pixels(stem).name, _sums(stem).name, _marker(stem).name)
        if files.temporary_of(left.name) in own:
            left.unlink()
    with files.replacing(_pixels(stem)) as file:
        digest, sums = _write(file, shape, frames, on_progress)
    _mark(stem, shape, digest, sums)


def _write(
    file: BinaryIO,
    shape: tuple[int, ...],
    frames: Iterable[np.ndarray],
    on_progress: Progress | None,
) -> tuple[str, bytes]:
    """Writes all frames; gives the digest of all, and those of each."""
    # Written as a file, not through a map: a map of 8 GB would fill the memory first.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    hasher, sums, done = hashlib.sha256(), bytearray(), 0
    for done, pixels in enumerate(frames, start=1):
        data = np.ascontiguousarray(pixels).tobytes()
        hasher.update(data)
        sums += _sum(data)
        file.write(data)
        if on_progress and (done % 64 == 0 or done == shape[0]):
            on_progress("preparing frames", done, shape[0])
    if done != shape[0]:
        raise ValueError(f"{done} frames came where {shape[0]} were announced")
    return hasher.hexdigest(), bytes(sums)


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()


def _pixels(stem: Path) -> Path:
    return stem.with_name(stem.name + ".npy")


def _marker(stem: Path) -> Path:
    return stem.with_name(stem.name + ".json")


def _sums(stem: Path) -> Path:
    return stem.with_name(stem.name + ".sums")
