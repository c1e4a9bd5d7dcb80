"""Builds the C kernel with the system's compiler, once, and loads it.

    QLRJAX_FROZEN=auto     the C kernel where it can be built, and pure JAX elsewhere
    QLRJAX_FROZEN=c        the C kernel, or an error that says why not
    QLRJAX_FROZEN=jax      pure JAX

The library lies in the user's cache folder under a name made of its sources, its compiler and its
flags, beside its SHA-256. It is built in a folder of its own and then renamed, so that processes
that start together each find a whole one.
"""

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from importlib import metadata, resources
from pathlib import Path

import jax

from qlrjax import caches
from qlrjax.integer.native.pack import AVX2, AVX512_VNNI, PLAIN

VARIABLE = "QLRJAX_FROZEN"
TARGET = "qlrjax_frozen_stage"
NAMES = {PLAIN: "plain C", AVX2: "AVX2", AVX512_VNNI: "AVX-512 VNNI"}

_SOURCES = ("layer.h", "plain.h", "avx2.h", "vnni.h", "layers.h", "team.h", "stage.c")
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
_SECONDS = 120
_PACKAGE = "qlrjax.integer.native"


class Unavailable(RuntimeError):
    """The C kernel cannot be used here; the sentence says why."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The loaded library.

    Attributes:
        path: The library; None if it was built for this process alone.
        instructions: The widest that the processor has: PLAIN, AVX2 or AVX512_VNNI.
    """

    path: Path | None
    instructions: int


def load() -> Kernel | None:
    """The C kernel, or None where pure JAX is to be used.

    Raises:
        Unavailable: QLRJAX_FROZEN=c asks for a kernel that cannot be had.
        ValueError: QLRJAX_FROZEN has another value than auto, c or jax.
    """
    wish = os.environ.get(VARIABLE, "auto")
    if wish not in ("auto", "c", "jax"):
        raise ValueError(f"{VARIABLE} is {wish!r}; use auto, c or jax")
    if wish == "jax":
        return None
    outcome = _load_once()
    if isinstance(outcome, Kernel):
        return outcome
    if wish == "c":
        raise outcome
    return None


def description() -> str:
    """What runs the integer stage here, and why, in a few words."""
    if os.environ.get(VARIABLE, "auto") == "jax":
        return f"pure JAX: {VARIABLE}=jax"
    outcome = _load_once()
    if isinstance(outcome, Kernel):
        return f"C kernel with {NAMES[outcome.instructions]}"
    return f"pure JAX: {outcome}"


@functools.cache
def _load_once() -> Kernel | Unavailable:
    try:
        return _load()
    except Unavailable as error:
        return error


def _load() -> Kernel:
    if jax.default_backend() != "cpu":
        raise Unavailable(f"the C kernel runs on CPUs, and JAX runs on {jax.default_backend()}")
    compiler = _compiler()
    folder = caches.folder("native")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="qlrjax-") as temporary:
            return _register(_build(compiler, Path(temporary)), None)
    home = folder / _key(compiler)
    path = home / "stage.so"
    if not _is_whole(home):
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as temporary:
            fresh = Path(temporary) / "new"
            fresh.mkdir()
            built = _build(compiler, fresh)
            (fresh / "sha256").write_text(_digest(built))
            if home.exists() and not _is_whole(home):  # damaged: out of the way
                with contextlib.suppress(OSError):
                    home.rename(Path(temporary) / "old")
            with contextlib.suppress(OSError):  # another process was first
                fresh.rename(home)
            if not _is_whole(home):
                return _register(built, None)
    return _register(path, path)


def _register(library: Path, kept: Path | None) -> Kernel:
    try:
        loaded = ctypes.CDLL(str(library))
        handler = loaded.qlrjax_frozen_stage
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the built C kernel does not load: {error}") from error
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(handler), platform="cpu")
    return Kernel(kept, int(loaded.qlrjax_instructions()))


def _compiler() -> Path:
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found).resolve()
    raise Unavailable(f"no C compiler ({', '.join(names)}) is installed")


def _build(compiler: Path, folder: Path) -> Path:
    """Compiles the library into a folder."""
    out = folder / "stage.so"
    with resources.as_file(resources.files(_PACKAGE) / "sources") as sources:
        words = [
            str(compiler),
            *_FLAGS,
            f"-I{jax.ffi.include_dir()}",
            "-o",
            str(out),
            str(sources / "stage.c"),
        ]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the C compiler {compiler} does not run: {error}") from error
    if done.returncode or not out.is_file():
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
        raise Unavailable(f"the C compiler {compiler} fails: {said}")
    return out


def _key(compiler: Path) -> str:
    status = compiler.stat()
    parts = [
        platform.machine(),
        metadata.version("jaxlib"),
        *_FLAGS,
        str(compiler),
        str(status.st_size),
        str(status.st_mtime_ns),
    ]
    digest = hashlib.sha256("\0".join(parts).encode())
    for name in _SOURCES:
        digest.update((resources.files(_PACKAGE) / "sources" / name).read_bytes())
    return digest.hexdigest()[:32]


def _is_whole(home: Path) -> bool:
    try:
        return (home / "sha256").read_text() == _digest(home / "stage.so")
    except (OSError, UnicodeDecodeError):
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
