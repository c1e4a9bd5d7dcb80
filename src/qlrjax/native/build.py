"""Builds a library of C kernels with the system's compiler, once, and loads it.

    VARIABLE=auto     the C kernels where they can be built, and pure JAX elsewhere
    VARIABLE=c        the C kernels, or an error that says why not
    VARIABLE=jax      pure JAX

Every library has a variable of its own. It lies in the user's cache folder under a name made of its
sources, its compiler and its flags, beside its SHA-256. It is built in a folder of its own and then
renamed, so that processes that start together each find a whole one.
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

_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
_SECONDS = 120
_SHARED = "qlrjax.native"


@dataclasses.dataclass(frozen=True)
class Library:
    """C sources that are compiled together.

    Attributes:
        package: Whose folder `sources` has them.
        main: The file that is compiled; the library has its name.
        targets: Its functions that JAX calls. Another one, `qlrjax_instructions`, tells which of
            the sets of instructions the processor has.
        instructions: Names of those sets, the narrowest first.
        variable: The environment variable that chooses: auto, c or jax.
    """

    package: str
    main: str
    targets: tuple[str, ...]
    instructions: tuple[str, ...]
    variable: str


class Unavailable(RuntimeError):
    """The C kernel cannot be used here; the sentence says why."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The loaded library.

    Attributes:
        path: The library; None if it was built for this process alone.
        instructions: The widest that the processor has, by its place in `Library.instructions`.
    """

    path: Path | None
    instructions: int


def load(library: Library) -> Kernel | None:
    """The C kernels, or None where pure JAX is to be used.

    Raises:
        Unavailable: The variable asks for kernels that cannot be had.
        ValueError: The variable has another value than auto, c or jax.
    """
    wish = os.environ.get(library.variable, "auto")
    if wish not in ("auto", "c", "jax"):
        raise ValueError(f"{library.variable} is {wish!r}; use auto, c or jax")
    if wish == "jax":
        return None
    outcome = _load_once(library)
    if isinstance(outcome, Kernel):
        return outcome
    if wish == "c":
        raise outcome
    return None


def description(library: Library) -> str:
    """What runs here in place of pure JAX, or why nothing does, in a few words."""
    if os.environ.get(library.variable, "auto") == "jax":
        return f"pure JAX: {library.variable}=jax"
    outcome = _load_once(library)
    if isinstance(outcome, Kernel):
        return f"C kernel with {library.instructions[outcome.instructions]}"
    return f"pure JAX: {outcome}"


def outlook(library: Library) -> str:
    """What `load` will choose, as far as is known without building: C kernels or pure JAX."""
    wish = os.environ.get(library.variable, "auto")
    if wish == "jax" or (wish == "auto" and not _compilers()):
        return "pure JAX"
    return "C kernels"


@functools.cache
def _load_once(library: Library) -> Kernel | Unavailable:
    try:
        return _load(library)
    except Unavailable as error:
        return error


def _load(library: Library) -> Kernel:
    if jax.default_backend() != "cpu":
        raise Unavailable(f"the C kernel runs on CPUs, and JAX runs on {jax.default_backend()}")
    compiler = _compiler()
    folder = caches.folder("native")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="qlrjax-") as temporary:
            return _register(library, _build(library, compiler, Path(temporary)), None)
    home = folder / _key(library, compiler)
    path = home / _file(library)
    if not _is_whole(home):
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as temporary:
            fresh = Path(temporary) / "new"
            fresh.mkdir()
            built = _build(library, compiler, fresh)
            (fresh / "sha256").write_text(_digest(built))
            if home.exists() and not _is_whole(home):  # damaged: out of the way
                with contextlib.suppress(OSError):
                    home.rename(Path(temporary) / "old")
            with contextlib.suppress(OSError):  # another process was first
                fresh.rename(home)
            if not _is_whole(home):
                return _register(library, built, None)
    return _register(library, path, path)


def _register(library: Library, built: Path, kept: Path | None) -> Kernel:
    try:
        loaded = ctypes.CDLL(str(built))
        handlers = [getattr(loaded, target) for target in library.targets]
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the built C kernel does not load: {error}") from error
    for target, handler in zip(library.targets, handlers, strict=True):
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    return Kernel(kept, int(loaded.qlrjax_instructions()))


def _compiler() -> Path:
    for found in _compilers():
        return Path(found).resolve()
    raise Unavailable(f"no C compiler ({', '.join(_names())}) is installed")


def _names() -> list[str]:
    return [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]


def _compilers() -> list[str]:
    return [found for found in map(shutil.which, _names()) if found]


def _build(library: Library, compiler: Path, folder: Path) -> Path:
    """Compiles the library into a folder."""
    out = folder / _file(library)
    with (
        resources.as_file(resources.files(library.package) / "sources") as own,
        resources.as_file(resources.files(_SHARED) / "sources") as shared,
    ):
        places = [f"-I{shared}", f"-I{jax.ffi.include_dir()}"]
        words = [str(compiler), *_FLAGS, *places, "-o", str(out), str(own / library.main)]
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


def _file(library: Library) -> str:
    return Path(library.main).with_suffix(".so").name


def _key(library: Library, compiler: Path) -> str:
    status = compiler.stat()
    parts = [
        platform.machine(),
        metadata.version("jaxlib"),
        library.main,
        *_FLAGS,
        str(compiler),
        str(status.st_size),
        str(status.st_mtime_ns),
    ]
    digest = hashlib.sha256("\0".join(parts).encode())
    for package in (library.package, _SHARED):
        sources = (resources.files(package) / "sources").iterdir()
        for source in sorted(sources, key=lambda file: file.name):
            if source.name.endswith((".c", ".h")):
                digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _is_whole(home: Path) -> bool:
    try:
        (library,) = home.glob("*.so")
        return (home / "sha256").read_text() == _digest(library)
    except (OSError, ValueError):  # UnicodeDecodeError is a ValueError
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
