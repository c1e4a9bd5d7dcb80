"""Reading what others packed, without trusting it: zips by name, pickles of plain data only."""

import pickle
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

_RATIO_AT_MOST = 200
_MEMBER_BYTES_AT_MOST = 64 * 2**20
_PICKLE_BYTES_AT_MOST = 256 * 2**20
_PICKLE_DAMAGE = (
    *(pickle.UnpicklingError, struct.error, ArithmeticError, AssertionError, AttributeError),
    *(EOFError, LookupError, MemoryError, TypeError, ValueError),
)


class UntrustedData(ValueError):
    """A file does something that honest data does not."""


def check_zip(archive: zipfile.ZipFile, name: str, size: int) -> list[zipfile.ZipInfo]:
    """The files of a zip, or a refusal.

    Args:
        archive: The zip.
        name: For the sentence.
        size: Of the zip's file, bytes.

    Raises:
        UntrustedData: A name is absolute or climbs with `..`, appears twice, is a link, or would
            unpack to an absurd size; or its members claim more bytes than it has.
    """
    seen: set[str] = set()
    files = []
    packed = sum(info.compress_size for info in archive.infolist())
    # Members may lie over each other, so that each is small beside the archive and all are not.
    if packed > size:
        raise UntrustedData(
            f"{name} has {size} bytes, and its members would take {packed}: they lie in one place"
        )
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        outside = path.is_absolute() or ".." in path.parts or info.filename[1:2] == ":"
        if outside or "\\" in info.filename:
            raise UntrustedData(f"{name}: member {info.filename!r} points outside the archive")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UntrustedData(f"{name}: member {info.filename!r} is a link")
        if info.filename in seen:
            raise UntrustedData(f"{name}: member {info.filename!r} appears twice")
        seen.add(info.filename)
        if info.is_dir():
            continue
        large = info.file_size > _MEMBER_BYTES_AT_MOST
        if large or info.file_size > _RATIO_AT_MOST * max(info.compress_size, 1):
            raise UntrustedData(
                f"{name}: member {info.filename!r} would unpack to {info.file_size} bytes"
            )
        files.append(info)
    return files


# The unpickler in Python, not the one in C: there, 8 bytes can ask for a table of gigabytes.
class _PlainUnpickler(pickle._Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise UntrustedData(f"the pickle asks for {module_name}.{global_name}; plain data does not")


def read_plain_pickle(path: Path) -> Any:
    """Nested lists, dicts, numbers and strings from a pickle; anything else is refused.

    Raises:
        UntrustedData: The pickle names a class or function, or is over 256 MiB.
        ValueError: It is damaged.
    """
    if path.stat().st_size > _PICKLE_BYTES_AT_MOST:
        raise UntrustedData(f"{path} is larger than any of CORe50's lists")
    with path.open("rb") as file:
        try:
            return _PlainUnpickler(file).load()
        except UntrustedData as error:
            raise UntrustedData(f"{path}: {error}") from None
        except _PICKLE_DAMAGE as error:
            raise ValueError(f"{path} is a damaged pickle ({type(error).__name__})") from error
