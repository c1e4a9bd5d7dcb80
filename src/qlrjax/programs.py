"""What XLA compiled, kept between processes: JAX's persistent compilation cache, in a sound folder.

    QLRJAX_COMPILED=FOLDER, or off   where it lies; without it, in the cache folder, see `caches`
    QLRJAX_COMPILED_MB=256           at most so much is kept; what was used longest ago goes first

The commands switch it on; a script calls `keep` before its first computation, or names a folder of
its own to JAX (JAX_COMPILATION_CACHE_DIR), which is then left alone. A program is the same machine
code whether it was kept or is compiled again, so results are the same to the last bit; what decides
how XLA compiles (processor, number of CPUs, versions, flags) names a folder each.

JAX writes its files in place, so that a killed process can leave half of one. Each file that was
whole when its process ended has its SHA-256 beside it, and `keep` removes what does not match.
"""

import atexit
import contextlib
import hashlib
import os
import warnings
from pathlib import Path

import filelock

from qlrjax import caches

VARIABLE = "QLRJAX_COMPILED"
LIMIT_VARIABLE = "QLRJAX_COMPILED_MB"
_DEFAULT_MB = 256.0
_JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_PROGRAM, _USED, _SUM = "-cache", "-atime", "-sha256"  # the first two are JAX's
_FOLDER, _LOCK = "xla-", ".lockfile"
_PATIENCE_SECONDS = 2.0


def keep() -> Path | None:
    """Lets JAX keep compiled programs from now on; to be called before the first one.

    Returns:
        The folder; None where nothing is kept, or where the user told JAX of another folder.

    Raises:
        ValueError: QLRJAX_COMPILED_MB is not a number of megabytes.
    """
    limit = limit_bytes()
    place = None if os.environ.get(_JAX_VARIABLE) else folder()
    if place is None or not limit:
        return None
    if not check(place, limit):
        return None
    import jax

    for text in ("Error (reading|writing) persistent compilation cache", "Cache value for key"):
        warnings.filterwarnings("ignore", text)  # nothing that is kept there is needed
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", limit)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    atexit.register(sign, place)
    return place


def folder() -> Path | None:
    """This machine's folder of programs, made if need be; None where there cannot be one."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "off":
        return None
    base = caches.private(Path(chosen)) if chosen else caches.folder("programs")
    return None if base is None else caches.private(base / f"{_FOLDER}{caches.machine()}")


def description() -> str:
    """Where programs are kept and how many, in a few words."""
    if os.environ.get(_JAX_VARIABLE):
        return f"{os.environ[_JAX_VARIABLE]} ({_JAX_VARIABLE})"
    if os.environ.get(VARIABLE, "").lower() == "off":
        return f"not kept: {VARIABLE}=off"
    place, limit = folder(), limit_bytes()
    if place is None:
        return f"not kept: no folder that this user alone may write to ({VARIABLE} names one)"
    count = sum(1 for _ in place.glob(f"*{_PROGRAM}"))
    kept = f"{count} in {caches.size(place) / 1e6:.1f} MB of at most {limit / 1e6:.0f} MB"
    return f"{place} ({kept}; {VARIABLE}: a folder or off, {LIMIT_VARIABLE})"


def limit_bytes() -> int:
    """At most so much is kept.

    Raises:
        ValueError: QLRJAX_COMPILED_MB is not a number of megabytes.
    """
    return caches.limit_bytes(LIMIT_VARIABLE, _DEFAULT_MB, "megabytes")


def check(place: Path, limit: int) -> bool:
    """Removes files that are not whole, then other machines' programs beyond the limit.

    False where the folder cannot be looked through, so that it is better not used.
    """
    try:
        with filelock.FileLock(place / _LOCK, timeout=_PATIENCE_SECONDS):
            for path in place.iterdir():
                if path.name.endswith(_PROGRAM):
                    if not (_sibling(path, _USED).is_file() and _is_whole(path)):
                        _remove(path)
                elif path.name.endswith((_USED, _SUM)) and not _program(path).exists():
                    path.unlink(missing_ok=True)
        _make_room(place, limit)
        return True
    except (OSError, filelock.Timeout):
        return False


def sign(place: Path) -> None:
    """Puts the SHA-256 of every new program beside it; no error where that cannot be done."""
    lock = filelock.FileLock(place / _LOCK, timeout=_PATIENCE_SECONDS)
    with contextlib.suppress(OSError, filelock.Timeout), lock:
        for path in place.glob(f"*{_PROGRAM}"):
            if not _sibling(path, _SUM).exists():
                _sibling(path, _SUM).write_text(_digest(path))


def _is_whole(path: Path) -> bool:
    """Whether a program is what was signed; one that never was may be half of one."""
    try:
        return _sibling(path, _SUM).read_text() == _digest(path)
    except (OSError, UnicodeDecodeError):
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.removesuffix(_PROGRAM) + suffix)


def _program(sibling: Path) -> Path:
    return sibling.with_name(sibling.name.rpartition("-")[0] + _PROGRAM)


def _remove(path: Path) -> None:
    for suffix in (_PROGRAM, _USED, _SUM):
        _sibling(path, suffix).unlink(missing_ok=True)


def _make_room(place: Path, limit: int) -> None:
    """Other machines' programs go, longest unused first, until all fit the limit together."""
    others = [
        path for path in place.parent.glob("xla-*") if path != place and not path.is_symlink()
    ]
    others.sort(key=lambda path: path.stat().st_mtime)
    used = sum(map(caches.size, others)) + caches.size(place)
    for path in others:
        if used <= limit:
            return
        used -= caches.size(path)
        for entry in path.iterdir():
            if entry.name.endswith((_PROGRAM, _USED, _SUM)) or entry.name == _LOCK:
                entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.rmdir()
