"""Latents of a stream's images: computed once, found again by image.

Two places keep them: memory, for one process, and a store on disk, for all processes, seeds and
later runs. A file of the store belongs to one frozen stage (its weights, its cut, its bits) and one
source of images; its rows are a SHA-256 and a latent each, at the place of the image's index. The
SHA-256 covers the file's key, the index and the latent, and is checked whenever a row is read, so
that a row which was half written, damaged, or is another's counts as one that is not there. For
that reason nothing in the store is locked to be read, and nothing is ever repaired.

    QLRJAX_CACHE=FOLDER, or off      where it lies, see `caches`
    QLRJAX_LATENTS_GB=8              at most so much is kept; what was used longest ago goes first
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax
import numpy as np
import PIL
from jax.profiler import TraceAnnotation

from qlrjax import caches
from qlrjax.integer import stagefile
from qlrjax.integer.extractor import Extractor
from qlrjax.streams.core50_cache import Progress
from qlrjax.streams.stream import Stream

VARIABLE = "QLRJAX_LATENTS_GB"
_DEFAULT_GB = 8.0
_FORMAT = b"qlrjax latents 1"
_DIGEST_BYTES = 32
_MEMORY_BYTES = 64 * 2**20
_SLICE = 512  # images read and extracted together
_LEAST_MACS = 20e9  # what a core does in about a second is not worth a file
_PATIENCE_SECONDS = 600


class InMemory:
    """Latents of this process, up to a number of bytes."""

    def __init__(
        self, limit_bytes: int = _MEMORY_BYTES, rows: dict[int, np.ndarray] | None = None
    ) -> None:
        """With latents by image that are known already, which the limit does not concern."""
        self.limit_bytes = limit_bytes
        self._rows: dict[int, np.ndarray] = {} if rows is None else rows

    @property
    def bytes(self) -> int:
        """What is kept."""
        return sum(row.nbytes for row in self._rows.values())

    def find(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copies what is kept into `out`, row by row, and says which rows: bool[n]."""
        found = np.array([index in self._rows for index in indices.tolist()], bool)
        for row in np.flatnonzero(found):
            out[row] = self._rows[int(indices[row])]
        return found

    def keep(self, indices: np.ndarray, latents: np.ndarray) -> None:
        """Keeps latents if there is room: all of them, or none."""
        each = max(latents[0].nbytes, 1) if len(latents) else 1
        if self.limit_bytes // each - len(self._rows) >= len(latents):
            self._rows.update(zip(indices.tolist(), latents, strict=True))

    def filling(self) -> contextlib.AbstractContextManager[None]:
        """Held while missing latents are computed; nobody else is there."""
        return contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class OnDisk:
    """One file of the store.

    Attributes:
        path: Of the file, which need not be there yet.
        key: What the latents are of; part of every row's digest.
    """

    path: Path
    key: bytes

    def find(self, indices: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copies what is kept into `out`, row by row, and says which rows: bool[n]."""
        found = np.zeros(len(indices), bool)
        size = out[0].nbytes if len(out) else 0
        # A store that cannot be read has nothing.
        with contextlib.suppress(OSError), self._open(os.O_RDONLY) as file:
            for row, index in enumerate(indices.tolist()):
                read = _read_at(file, index * (_DIGEST_BYTES + size), _DIGEST_BYTES + size)
                digest, latent = read[:_DIGEST_BYTES], read[_DIGEST_BYTES:]
                if len(latent) == size and digest == self._digest(index, latent):
                    out[row] = np.frombuffer(latent, out.dtype).reshape(out.shape[1:])
                    found[row] = True
        return found

    def keep(self, indices: np.ndarray, latents: np.ndarray) -> None:
        """Keeps latents; a full or failing disk is no error, they are in memory anyway."""
        with contextlib.suppress(OSError), self._open(os.O_RDWR | os.O_CREAT) as file:
            for index, latent in zip(indices.tolist(), latents, strict=True):
                data = np.ascontiguousarray(latent).tobytes()
                file.seek(index * (_DIGEST_BYTES + len(data)))
                file.write(self._digest(index, data) + data)

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Held while missing latents are computed, so that no two processes compute the same.

        Where the lock cannot be had, the work is done twice instead of never.
        """
        lock = filelock.FileLock(self.path.with_suffix(".lock"), timeout=_PATIENCE_SECONDS)
        try:
            lock.acquire()
        except (OSError, filelock.Timeout):
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _open(self, flags: int) -> io.FileIO:
        """The file; a pipe in its place would never open, and a link could lead anywhere."""
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return io.FileIO(os.open(self.path, flags, 0o600), "r+b" if flags & os.O_RDWR else "rb")

    def _digest(self, index: int, latent: bytes) -> bytes:
        return hashlib.sha256(self.key + index.to_bytes(8, "little") + latent).digest()


Kept = InMemory | OnDisk


def _read_at(file: io.RawIOBase, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size) or b""


def place(extractor: Extractor, stream: Stream) -> Kept:
    """Where a session's latents are kept: on disk if it is worth it and possible, else in memory.

    Args:
        extractor: The frozen stage.
        stream: Whose images are extracted.
    """
    cut = extractor.cut
    count = sum(len(event) for event in stream.events) + len(stream.test)
    macs = sum(layer.macs for layer in cut.below) * count
    folder = caches.folder("latents") if macs >= _LEAST_MACS else None
    if folder is None:
        return InMemory()
    key = _key(extractor, stream)
    path = folder / f"{hashlib.sha256(key).hexdigest()[:32]}.latents"
    latent, dtype = _kind(extractor)
    needed = count * (_DIGEST_BYTES + int(np.prod(latent)) * dtype.itemsize)
    if not _make_room(folder, path, needed):
        return InMemory()
    with contextlib.suppress(OSError):
        os.utime(path)
    return OnDisk(path, key)


def read(
    extractor: Extractor,
    stream: Stream,
    indices: np.ndarray,
    kept: Kept,
    on_progress: Progress | None = None,
    what: str = "images",
) -> np.ndarray:
    """Latents of images: those that are kept, and the others computed and kept from then on.

    Args:
        extractor: The frozen stage.
        stream: Whose images they are.
        indices: int64[n] of the images.
        kept: Where to look and to keep.
        on_progress: Called with (what, done, total) while latents are computed.
        what: For `on_progress`.

    Returns:
        [n, height, width, channels], uint8 codes or float32.
    """
    shape, dtype = _kind(extractor)
    latents = np.empty((len(indices), *shape), dtype)
    with TraceAnnotation("kept latents"):
        missing = np.flatnonzero(~kept.find(indices, latents))
    for begin in range(0, len(missing), _SLICE):
        rows = missing[begin : begin + _SLICE]
        with kept.filling():
            again = np.empty((len(rows), *shape), dtype)
            found = kept.find(indices[rows], again)
            if not found.all():
                fresh = indices[rows[~found]]
                with TraceAnnotation("decode"):
                    images = stream.source.read(fresh)
                with TraceAnnotation("frozen stage"):
                    again[~found] = extractor(images)
                with TraceAnnotation("kept latents"):
                    kept.keep(fresh, again[~found])
        latents[rows] = again
        if on_progress:
            on_progress(what, min(begin + _SLICE, len(missing)), len(missing))
    return latents


def _kind(extractor: Extractor) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a latent."""
    if extractor.cut.latent_layer == 0:
        return extractor.cut.image_shape, np.dtype(np.uint8)
    is_float = extractor.parameters is not None
    return extractor.cut.latent_shape, np.dtype(np.float32 if is_float else np.uint8)


def _key(extractor: Extractor, stream: Stream) -> bytes:
    """What decides a latent: the stage with its network and cut, and the images."""
    hasher = hashlib.sha256(_FORMAT)
    parts = [hashlib.sha256(stagefile.dump(extractor)).digest(), stream.source.digest.encode()]
    # Photos are decoded and scaled by Pillow, of which versions can differ.
    parts.append(f"{stream.source.in_hw} {PIL.__version__}".encode())
    if extractor.parameters is not None:
        # Unlike integers, floats depend on how their sums are split.
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        device = jax.devices()[0].device_kind
        floats = (jax.__version__, cpus, os.environ.get("XLA_FLAGS"), device)
        several = () if extractor.mesh is None else (extractor.mesh.size,)
        parts.append(repr((*floats, *several)).encode())
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.digest()


def _make_room(folder: Path, path: Path, needed: int) -> bool:
    """Removes what was used longest ago, so that a file of that size fits; False if it cannot."""
    limit = limit_bytes()
    if needed > limit:
        return False
    try:
        others = sorted(
            (entry.stat().st_mtime, entry.stat().st_blocks * 512, entry)
            for entry in folder.glob("*.latents")
            if entry != path
        )
        used = sum(size for _, size, _ in others)
        for _, size, entry in others:
            if used + needed <= limit:
                break
            entry.unlink(missing_ok=True)
            entry.with_suffix(".lock").unlink(missing_ok=True)
            used -= size
        there = path.stat().st_blocks * 512 if path.exists() else 0
        return shutil.disk_usage(folder).free > 2 * max(needed - there, 0)
    except OSError:
        return False


def limit_bytes() -> int:
    """At most so much is kept.

    Raises:
        ValueError: QLRJAX_LATENTS_GB is not a number of gigabytes.
    """
    return caches.limit_bytes(VARIABLE, _DEFAULT_GB, "gigabytes")
