"""The one place that writes files: whole or absent, never through a link; and reads plain ones.

A temporary file is made exclusively under a name that nobody can guess, so nothing that lies in a
folder, a link least of all, decides where bytes go. The last step is a rename, which replaces a
link and not what it points to.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
# Without O_NONBLOCK, opening a pipe would wait for ever.
_SOON = getattr(os, "O_NONBLOCK", 0)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | _SOON
_READ = os.O_RDONLY | _SOON
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old or the new one whole.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write to, which takes the place of `path` when all has gone well.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with _named(path):
        descriptor = os.open(temporary, _NEW, 0o666)
    try:
        with _named(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.absolute().parent)


def create(path: Path, content: bytes | str) -> None:
    """Writes a file that must not be there yet.

    Raises:
        FileExistsError: It is.
        OSError: It could not be written.
    """
    descriptor = os.open(path, _NEW, 0o666)
    with _named(path), os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    sync(path.absolute().parent)


def append(path: Path, line: str) -> None:
    """Adds a line to a file, which may be new but neither a link nor a pipe.

    Raises:
        OSError: It could not be written.
    """
    with _named(path), os.fdopen(os.open(path, _APPEND, 0o666), "w", encoding="utf-8") as file:
        check_plain(os.fstat(file.fileno()), path)
        file.write(line + "\n")


def read(path: Path, at_most: int) -> bytes:
    """The content of a plain file; a pipe or a device could lead anywhere, or never end.

    Args:
        path: The file, or a link to it.
        at_most: Bytes; more is an error.

    Raises:
        ValueError: It is larger.
        OSError: It is no plain file, or cannot be read.
    """
    with os.fdopen(os.open(path, _READ), "rb") as file:
        status = os.fstat(file.fileno())
        check_plain(status, path)
        if status.st_size > at_most:
            raise ValueError(
                f"{path} has {status.st_size} bytes, more than the {at_most} that are read"
            )
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise ValueError(f"{path} grew while it was read")
    return data


def check_plain(status: os.stat_result, path: Path) -> None:
    """Refuses what could lead anywhere, or never end.

    Raises:
        OSError: It is a folder, a link (of `lstat`), a pipe or a device; named by its path.
    """
    if not stat.S_ISREG(status.st_mode):
        code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        word = os.strerror(code) if stat.S_ISDIR(status.st_mode) else "is not a plain file"
        raise OSError(code, word, str(path))


def temporary_of(name: str) -> str | None:
    """The file that a temporary one was to become; None if the name is not one of ours."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else None


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file that was asked for, not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def sync(path: Path) -> None:
    """Makes a file, or the renames in a folder, durable where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
