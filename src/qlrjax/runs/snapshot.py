"""One checkpoint on disk: arrays, log and manifest in a folder, verified from end to end.

    00000012/state/                 the leaves, an Orbax checkpoint; small ones are one array
    00000012/records.jsonl          the log of events up to this step
    00000012/manifest.json          see `manifest`: digests of all of these files and of every leaf
    00000012/manifest.json.sha256   digest of the manifest, as `sha256sum` writes it

Orbax is atomic but reads flipped bits without noticing. So every file is compared with its digest
before Orbax parses it, and every leaf after. Orbax is used in this module only.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from orbax.checkpoint import v1 as ocp

from qlrjax import files
from qlrjax.runs import leaves, manifest, runfolder
from qlrjax.runs.manifest import Manifest
from qlrjax.runs.runfolder import Record

_MANIFEST, _RECORDS, _STATE = "manifest.json", "records.jsonl", "state"
_SUM = f"{_MANIFEST}.sha256"
# Orbax spends a millisecond on every array, and a few strings that TensorStore never frees; leaves
# below this many bytes are one array, called "", each after the other in the order of their names.
_SMALL_BYTES = 2**20
# Orbax's own files, the manifest and the log, beyond the bytes of the leaves: at least this much
# room is asked for, and at most that much is believed.
_OVERHEAD_ON_DISK_BYTES = 64 * 2**10
_OVERHEAD_BYTES = 256 * 2**20
# What reading a damaged checkpoint runs into, unlike a missing permission or too many open files.
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ELOOP)

# What Orbax and the libraries below it take as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_./+=, -]+")

# How TensorStore, below Orbax, ends a message about an error of the operating system.
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d{1,4})'")


class Damaged(Exception):
    """A checkpoint is not what was written."""


def write(
    place: Path,
    arrays: Mapping[str, np.ndarray],
    records: Sequence[Record],
    **about: Any,
) -> None:
    """Fills a new folder and makes it durable; the caller renames it into place.

    Args:
        place: Absolute path; must not exist.
        arrays: Leaves by path.
        records: The log of events.
        **about: The fields of the manifest that do not follow from arrays and files.

    Raises:
        Exception: Orbax reports a full disk in many ways; what is there is then worthless.
    """
    place.mkdir()
    _check_room(place, sum(array.nbytes for array in arrays.values()))
    context = ocp.Context()
    # Compression costs more time than it saves bytes here.
    context.array.saving.use_compression = False
    with context, _quiet(), _plainly_named(place) as plain:
        ocp.save(os.fspath(plain / _STATE), _packed(arrays, _SMALL_BYTES))
    (place / _RECORDS).write_bytes(runfolder.encode_records(records))
    digests = {
        path: manifest.File((place / path).stat().st_size, _digest(place / path))
        for path in sorted(_files(place))
    }
    data = manifest.encode(Manifest(leaves=leaves.sign(arrays), files=digests, **about))
    for path in place.rglob("*"):
        files.sync(path)
    line = f"{hashlib.sha256(data).hexdigest()}  {_MANIFEST}\n"
    files.write_atomic(place / _MANIFEST, data)
    files.write_atomic(place / _SUM, line)


def _check_room(place: Path, size: int) -> None:
    # Orbax notices a full disk, too, but late and with noise on stderr.
    needed = size + _OVERHEAD_ON_DISK_BYTES
    if shutil.disk_usage(place).free < needed:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {needed} bytes are needed")


def verify(place: Path) -> Manifest:
    """The manifest of the checkpoint in the folder `place`, all files of which have their digests.

    Raises:
        Damaged: It is not what was written.
        UnknownSchema: Another version of qlrjax wrote it.
        OSError: It cannot be read for a reason that is not damage.
    """
    described = read_manifest(place)
    with _reading():
        _verify_files(place, described)
    return described


def read_manifest(place: Path) -> Manifest:
    """The manifest of the checkpoint in the folder `place`; none of its files is looked at.

    Raises:
        Damaged: It is not what was written.
        UnknownSchema: Another version of qlrjax wrote it.
        OSError: It cannot be read for a reason that is not damage.
    """
    with _reading():
        if _size(place / _MANIFEST) > manifest.SIZE_LIMIT_BYTES:
            raise Damaged("its manifest is larger than any real one")
        data = (place / _MANIFEST).read_bytes()
        noted = (place / _SUM).read_bytes() if _size(place / _SUM) < 200 else b""
    if noted != f"{hashlib.sha256(data).hexdigest()}  {_MANIFEST}\n".encode():
        raise Damaged("its manifest does not have the digest noted for it")
    try:
        described = manifest.decode(data)
    except manifest.InvalidManifest as error:
        raise Damaged(str(error)) from error
    if f"{described.step:08d}" != place.name.partition(".corrupt-")[0]:
        raise Damaged(f"its manifest is of step {described.step}")
    return described


def read(
    place: Path, described: Manifest
) -> tuple[dict[str, np.ndarray], tuple[dict[str, Any], ...]]:
    """Arrays and records of a checkpoint.

    Args:
        place: Its folder, an absolute path.
        described: Its manifest; its files are verified, and its shapes are those that are wanted.

    Raises:
        Damaged: It is not what was written.
        ValueError: It is, but this Orbax cannot read it.
        OSError: It cannot be read for a reason that is not damage.
    """
    expected = sum(leaf.bytes for leaf in described.leaves.values()) + _OVERHEAD_BYTES
    if sum(file.bytes for file in described.files.values()) > expected:
        raise Damaged("its files are larger than its arrays can be")
    with _reading():
        log = (place / _RECORDS).read_bytes()
    arrays = _load_arrays(place, described)
    for name, signed in leaves.sign(arrays).items():
        if signed != described.leaves[name]:
            raise Damaged(f"leaf {name} does not have the digest noted for it")
    try:
        return arrays, runfolder.decode_records(log)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its log is not JSON lines: {error}") from error


def _load_arrays(place: Path, described: Manifest) -> dict[str, np.ndarray]:
    small = _SMALL_BYTES if described.schema > 1 else 0
    try:
        targets = {
            name: np.empty(leaf.shape, leaf.dtype) for name, leaf in described.leaves.items()
        }
    except (MemoryError, ValueError) as error:
        raise Damaged("its manifest asks for more memory than there is") from error
    try:
        with _quiet(), _plainly_named(place) as plain:
            loaded = ocp.load(os.fspath(plain / _STATE), _packed(targets, small))
        return _unpacked(loaded, targets, small)
    except Exception as error:
        # Its files are what was written, so it is not damaged.
        writer = described.fingerprint.get("orbax-checkpoint", "of another version")
        raise ValueError(
            f"checkpoint {place} is intact, but Orbax cannot read it ({describe_error(error)}); "
            f"use the Orbax that wrote it, {writer}"
        ) from error


def _packed(arrays: Mapping[str, np.ndarray], small: int) -> dict[str, np.ndarray]:
    """What Orbax keeps; it has no arrays without elements, which shapes rebuild."""
    parts = [_bytes_of(arrays[name]) for name in _below(arrays, small)]
    large = {name: a for name, a in arrays.items() if a.size and a.nbytes >= small}
    together = np.concatenate([np.zeros(0, np.uint8), *parts])
    return {**large, "": together if together.size else np.zeros(1, np.uint8)}


def _unpacked(
    loaded: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray], small: int
) -> dict[str, np.ndarray]:
    """Inverse of `_packed`; targets have the shapes and types, and take what is small."""
    start, together = 0, np.asarray(loaded[""])
    for name in _below(targets, small):
        size = targets[name].nbytes
        _bytes_of(targets[name])[:] = together[start : start + size]
        start += size
    return {name: np.asarray(loaded.get(name, own)) for name, own in targets.items()}


def _below(arrays: Mapping[str, np.ndarray], small: int) -> list[str]:
    return sorted(name for name, array in arrays.items() if array.nbytes < small)


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """uint8[n], a view: leaves are in C order."""
    return array.reshape(-1).view(np.uint8)


def _verify_files(place: Path, described: Manifest) -> None:
    found = {path for path in _files(place) if not PurePosixPath(path).name.startswith(".")}
    if found != set(described.files):
        wrong = min(found ^ set(described.files))
        raise Damaged(f"{wrong} is {'not part of it' if wrong in found else 'missing'}")
    for path, file in described.files.items():
        if (size := _size(place / path)) != file.bytes:
            raise Damaged(f"{path} has {size} bytes instead of {file.bytes}")
        if _digest(place / path) != file.sha256:
            raise Damaged(f"{path} does not have the digest noted for it")


def _size(path: Path) -> int:
    """Bytes of a plain file; a link or a pipe could lead anywhere, or never end."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(f"{path.name} is not a plain file")
    return status.st_size


def _files(place: Path) -> Iterator[str]:
    """Paths of the files that a manifest must vouch for; links to folders count as files."""
    if (place / _RECORDS).exists():
        yield _RECORDS
    for root, folders, names in os.walk(place / _STATE, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in (*names, *links):
            yield Path(root, name).relative_to(place).as_posix()


def foreign(place: Path, described: Manifest | None) -> Iterator[Path]:
    """Files of a checkpoint's folder that no checkpoint has.

    Args:
        place: The folder.
        described: Its manifest, if it is legible.
    """
    own = {_MANIFEST, _RECORDS, _STATE, _SUM}
    for path in sorted(place.iterdir()):
        if path.name not in own and files.temporary_of(path.name) not in own:
            yield path
    if described is None:
        return
    for name in sorted(_files(place)):
        if name not in described.files and not PurePosixPath(name).name.startswith("."):
            yield place / name


def _raise(error: OSError) -> None:
    raise error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        name = Path(error.filename).name if error.filename else "a file"
        raise Damaged(f"{name}: {error.strerror}") from error


@contextlib.contextmanager
def _plainly_named(place: Path) -> Iterator[Path]:
    """The folder under a path that Orbax takes literally.

    Orbax looks for its parts with a pattern, in which brackets are no brackets, and hands paths to
    libraries that know UTF-8 only; so other names are reached through a link beside nothing else.
    """
    if _PLAIN.fullmatch(os.fspath(place)):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="qlrjax-") as scratch:
        if not _PLAIN.fullmatch(scratch):
            raise ValueError(
                f"the folder for temporary files is called {scratch!r}, which checkpoints cannot "
                "be reached through; set TMPDIR to a plain name"
            )
        link = Path(scratch) / "place"
        link.symlink_to(place.absolute(), target_is_directory=True)
        yield link


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax also logs, with pages of stack, each error that it raises; raising is enough."""
    logger = logging.getLogger("absl")
    logger.addFilter(_drop)
    try:
        yield
    finally:
        logger.removeFilter(_drop)


def _drop(_: logging.LogRecord) -> bool:
    return False


def describe_error(error: Exception) -> str:
    """What went wrong, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if code := _SYSTEM_ERROR.search(text):
        text = os.strerror(int(code[1]))
    return " ".join(text.split())[:200] or type(error).__name__
