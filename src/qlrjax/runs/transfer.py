"""A whole run in one file, to move it between machines: an .npz of the leaves, and JSON.

    state/<path>.npy        every leaf of the last intact checkpoint
    records.npy, files/...  the log of events and files of the run folder, as bytes (uint8)
    manifest.npy            JSON as bytes, see `manifest`: digests of all of the above
    manifest_sha256.npy     digest of the JSON

Any NumPy opens it with np.load(path, allow_pickle=False). Nothing is compressed, so nothing in a
crafted file can take more memory than the file has bytes.
"""

import contextlib
import dataclasses
import hashlib
import os
import struct
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files
from qlrjax.names import printable
from qlrjax.runs import checkpoint, leaves, manifest, runfolder
from qlrjax.runs.manifest import Manifest

_MANIFEST, _SUM, _RECORDS = "manifest.npy", "manifest_sha256.npy", "records.npy"
_MEMBERS_LIMIT = 100_000
_HEADER_LIMIT_BYTES = 4096
_FILE_AT_MOST = 2**30
# A fixed date makes the same run the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def pack(
    folder: Path, path: Path, names: Collection[str] = (), checkpoints: str = "checkpoints"
) -> tuple[str, ...]:
    """Exports the last intact checkpoint of a run.

    Args:
        folder: The run's folder; the caller holds its lock.
        path: The file to write; it appears whole or not at all.
        names: Names of more files of the run to take along.
        checkpoints: Name of the folder of checkpoints in it.

    Returns:
        What the user should be told, one line each.

    Raises:
        ValueError: There is no checkpoint, or none that is intact.
        OSError: Something could not be read or written.
    """
    found = checkpoint.read_newest(folder / checkpoints, lambda described: None)
    if found is None:
        raise ValueError(f"{printable(folder)} holds no checkpoint; learn at least one event first")
    described, arrays, records, notes = found
    parts = {_RECORDS: runfolder.encode_records(records)}
    parts |= {f"files/{name}.npy": files.read(folder / name, _FILE_AT_MOST) for name in names}
    digests = {
        name: manifest.File(len(data), hashlib.sha256(data).hexdigest())
        for name, data in parts.items()
    }
    about = manifest.encode(_with_files(described, digests))
    parts |= {_MANIFEST: about, _SUM: hashlib.sha256(about).hexdigest().encode()}
    members = {f"state/{name}.npy": array for name, array in arrays.items()}
    members |= {name: np.frombuffer(data, np.uint8) for name, data in parts.items()}
    _write(path, members)
    return notes


@dataclasses.dataclass(frozen=True)
class Packed:
    """An exported run, read and verified.

    Attributes:
        described: The manifest, with the fingerprint of the machine that saved the run.
        arrays: Leaves by path.
        records: The log of events.
        content: Files of the run's folder by name.
    """

    described: Manifest
    arrays: dict[str, np.ndarray]
    records: tuple[dict[str, Any], ...]
    content: dict[str, bytes]


def read(path: Path, names: Collection[str] = ()) -> Packed:
    """Reads an exported run; nothing is written.

    Args:
        path: What `pack` wrote, or a file from anywhere that claims to be that.
        names: Names of files that may be in it; all have to be there.

    Raises:
        ValueError: The file is not an intact export.
        OSError: It cannot be read.
    """
    with _opened(path) as archive:
        described = _read_manifest(archive)
        content = {name: _read_bytes(archive, name, file) for name, file in described.files.items()}
        wanted = {_RECORDS} | {f"files/{name}.npy" for name in names}
        if set(content) != wanted:
            raise ValueError(f"its files are {sorted(content)}, not {sorted(wanted)}")
        arrays = {name: _read_leaf(archive, name, leaf) for name, leaf in described.leaves.items()}
        records = runfolder.decode_records(content.pop(_RECORDS))
    own = {name: content[f"files/{name}.npy"] for name in names}
    return Packed(described, arrays, records, own)


def unpack(packed: Packed, folder: Path, checkpoints: str = "checkpoints") -> None:
    """Makes a run folder of an exported run; `checkpoint.restore` then goes on with it.

    Args:
        packed: From `read`.
        folder: The new run's folder; the caller holds its lock.
        checkpoints: Name of the folder of checkpoints to make.

    Raises:
        ValueError: The folder holds a run already.
        OSError: Something could not be written; nothing is left of it.
    """
    names = list(packed.content)
    taken = [name for name in (checkpoints, *names) if (folder / name).exists()]
    if taken:
        raise ValueError(
            f"{printable(folder)} holds a run already ({taken[0]}); choose a new folder"
        )
    described = packed.described
    about = {
        "settings": described.settings,
        "statics": described.statics,
        "fingerprint": described.fingerprint,
        "extra": described.extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / checkpoints
    try:
        for name, data in packed.content.items():
            files.write_atomic(folder / name, data)
        checkpoint.publish(place, described.step, packed.arrays, packed.records, about)
    except BaseException:
        runfolder.clear(folder, [checkpoints, *names])
        raise


def _with_files(described: Manifest, files: Mapping[str, manifest.File]) -> Manifest:
    return dataclasses.replace(described, files=dict(files))


def _write(path: Path, members: Mapping[str, np.ndarray]) -> None:
    with files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in members.items():
            entry = zipfile.ZipInfo(name, _DATE)
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    """The archive; whatever is wrong with it becomes one sentence."""
    if not path.is_file() and path.exists():  # opening a pipe would wait for ever
        raise ValueError(f"{printable(path)} is not an intact exported run: it is no plain file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if len(names) != len(members) or len(names) > _MEMBERS_LIMIT or not stored:
                raise ValueError("its members are compressed, twice there, or too many")
            if sum(member.file_size for member in members) > os.stat(path).st_size:
                raise ValueError("its members claim more bytes than it has")
            yield archive
    except manifest.UnknownSchema:
        raise
    except _NOT_INTACT as error:
        raise ValueError(f"{printable(path)} is not an intact exported run: {error}") from error


_NOT_INTACT = (
    *(zipfile.BadZipFile, struct.error, ValueError, KeyError, EOFError, NotImplementedError),
    *(RuntimeError, RecursionError, MemoryError, UnicodeError, OverflowError),
)


def _read_manifest(archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo(_MANIFEST).file_size > manifest.SIZE_LIMIT_BYTES:
        raise ValueError("its manifest is larger than any real one")
    data = _read_array(archive, _MANIFEST, np.dtype(np.uint8)).tobytes()
    noted = _read_array(archive, _SUM, np.dtype(np.uint8)).tobytes()
    if noted != hashlib.sha256(data).hexdigest().encode():
        raise ValueError("its manifest does not have the digest noted for it")
    return manifest.decode(data)


def _read_bytes(archive: zipfile.ZipFile, name: str, file: manifest.File) -> bytes:
    data = _read_array(archive, name, np.dtype(np.uint8)).tobytes()
    if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
        raise ValueError(f"{name} does not have the digest noted for it")
    return data


def _read_leaf(archive: zipfile.ZipFile, name: str, leaf: leaves.Leaf) -> np.ndarray:
    array = _read_array(archive, f"state/{name}.npy", np.dtype(leaf.dtype))
    if leaves.Leaf(array.shape, array.dtype.name, leaves.digest(array)) != leaf:
        raise ValueError(f"leaf {name} does not have the digest noted for it")
    return array


def _read_array(archive: zipfile.ZipFile, name: str, dtype: np.dtype) -> np.ndarray:
    """An array of a known type; its header is parsed as a literal and nothing is unpickled."""
    with archive.open(name) as member:
        shape = _read_header(member, name, dtype)
        data = member.read()
    return np.frombuffer(data, dtype).reshape(shape)


def _read_header(member: Any, name: str, dtype: np.dtype) -> tuple[int, ...]:
    parse: Callable[..., tuple[tuple[int, ...], bool, np.dtype]]
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    parse = readers[version]
    shape, fortran, found = parse(member, max_header_size=_HEADER_LIMIT_BYTES)
    # NumPy names types that are not its own, such as bfloat16, by their size only.
    plain = found == dtype or (found.kind == "V" and not found.names and dtype.kind == "V")
    if fortran or found.itemsize != dtype.itemsize or not plain or found.hasobject:
        raise ValueError(f"{name} holds {found}, not {dtype}")
    return shape
