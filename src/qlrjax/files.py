"""Files that are whole or absent, whatever happens while they are written."""

import contextlib
import os
from pathlib import Path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old or the new one whole.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Makes a file, or the renames in a folder, durable where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
