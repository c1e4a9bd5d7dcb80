"""Reading .npz files that nobody vouches for: no more memory than their sizes admit, no pickles.

`numpy.load` believes the sizes that a file claims: a megabyte of zeros, packed, asks for gigabytes,
and a header of 128 bytes for any shape. Here every size is compared first.
"""

import io
import math
import zipfile
import zlib

import numpy as np

_MEMBERS_AT_MOST = 100_000
_HEADER_AT_MOST = 4096
_RATIO_AT_MOST = 200
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError),
    *(UnicodeError, OverflowError, TypeError, AttributeError, OSError, MemoryError, SyntaxError),
)


def read(data: bytes, at_most: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz by name.

    Args:
        data: The file.
        at_most: Bytes of all arrays together; more is refused before any is unpacked.

    Raises:
        ValueError: It is no .npz, is damaged, holds anything but plain arrays, or is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members, len(data), at_most)
            return {
                member.filename.removesuffix(".npy"): _array(archive, member) for member in members
            }
    except _DAMAGE as error:
        raise ValueError(f"it is damaged: {' '.join(str(error).split())[:200]}") from error


def _check(members: list[zipfile.ZipInfo], size: int, at_most: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise ValueError("one of its arrays is there twice")
    if len(members) > _MEMBERS_AT_MOST:
        raise ValueError(f"it has {len(members)} arrays, more than any real file")
    total = sum(member.file_size for member in members)
    if total > at_most or total > _RATIO_AT_MOST * size:
        raise ValueError(
            f"its arrays would take {total} bytes unpacked, {size} packed; at most {at_most} are "
            "read"
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if not member.filename.endswith(".npy"):
        raise ValueError(f"member {member.filename[:80]!r} is no array")
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise ValueError(f"array {member.filename[:80]!r} is not of the size that is noted")
    return parse(data, member.filename[:80])


def parse(data: bytes, name: str) -> np.ndarray:
    """An array from the bytes of an .npy file.

    Raises:
        ValueError: It is damaged, or holds objects.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_AT_MOST)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(stream, max_header_size=_HEADER_AT_MOST)
    else:
        raise ValueError(f"array {name!r} is of version {version}")
    shape, fortran, dtype = header
    body = data[stream.tell() :]
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise ValueError(f"array {name!r} holds {dtype}, not plain numbers or text")
    # In Python's whole numbers, which do not wrap around.
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"array {name!r} has {len(body)} bytes, which is not {shape} of {dtype}")
    flat = np.frombuffer(body, dtype) if body else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
