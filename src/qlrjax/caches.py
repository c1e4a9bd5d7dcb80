"""Where what can be computed again is kept: the user's cache folder, or none.

    QLRJAX_CACHE=FOLDER    keep it there
    QLRJAX_CACHE=off       keep nothing

Nothing in it is needed: a folder that cannot be written to, or that others can, is not used.
"""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

import platformdirs

VARIABLE = "QLRJAX_CACHE"
_BYTES = {"megabytes": 1e6, "gigabytes": 1e9}


def root() -> Path | None:
    """The cache folder, whether it exists or not; None where it is switched off."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "off":
        return None
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("qlrjax", appauthor=False))


def folder(name: str) -> Path | None:
    """A part of the cache that this process may write to; None where there cannot be one."""
    base = root()
    return None if base is None else private(base / name)


def private(path: Path) -> Path | None:
    """The folder, made if need be; None where this process may not write to it, or others may.

    What is kept there may be run as code, so a folder that belongs to another user, or that others
    may write to, is not used.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) and _is_private(path) else None


def limit_bytes(variable: str, default: float, unit: str) -> int:
    """How much may be kept, as an environment variable says.

    Args:
        variable: Its name.
        default: Without it, in units.
        unit: "megabytes" or "gigabytes".

    Raises:
        ValueError: It is not a number of units.
    """
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{variable} is {text!r}; give a number of {unit}, or 0 for none")
    return int(value * _BYTES[unit])


def size(path: Path) -> int:
    """Bytes that all files in a folder take; files that vanish meanwhile count nothing."""
    total = 0
    for entry in path.rglob("*"):
        try:
            status = entry.stat()
            # Files of latents have holes.
            taken = min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512)
            total += taken if entry.is_file() else 0
        except OSError:
            continue
    return total


def machine() -> str:
    """A name for everything that decides how a program is compiled, besides the program."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [metadata.version(name) for name in ("jax", "jaxlib")]
    parts = [platform.machine(), _processor(), cpus, os.environ.get("XLA_FLAGS", ""), *versions]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _is_private(path: Path) -> bool:
    if os.name == "nt":
        return True
    status = path.stat()
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _processor() -> str:
    """Model and instruction sets."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    first = text.partition("\n\n")[0].splitlines()
    return "\n".join(line for line in first if line.startswith(("model name", "flags", "Features")))
