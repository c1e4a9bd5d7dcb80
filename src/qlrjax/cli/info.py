"""`qlrjax info`: versions, cores, what runs the frozen stage, and where caches lie."""

import os
import platform
from collections.abc import Sequence
from importlib import metadata

from qlrjax import caches
from qlrjax.cli.arguments import parse_arguments

_PACKAGES = ("qlrjax", "jax", "jaxlib", "flax", "optax", "numpy")


def main(words: Sequence[str]) -> int:
    """Prints one line a fact and returns 0."""
    parse_arguments(_info, words, "qlrjax info")
    width = max(len(name) for name, _ in facts())
    for name, value in facts():
        print(f"{name:{width}}  {value}")
    return 0


def facts() -> list[tuple[str, str]]:
    """Names and values, in the order in which they are shown."""
    import jax

    from qlrjax import native, programs
    from qlrjax.integer.native import LIBRARY as frozen
    from qlrjax.training.kernels import LIBRARY as training

    built = ("frozen stage", frozen), ("training", training)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("versions", versions),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("cores", f"{cores} that this process may use"),
        ("devices", ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices())),
        ("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") or "none"),
        *(
            (what, f"{native.description(library)} ({library.variable}: auto, c or jax)")
            for what, library in built
        ),
        ("compiled", programs.description()),
        ("caches", _caches()),
    ]


def _caches() -> str:
    root = caches.root()
    if root is None:
        return f"none ({caches.VARIABLE}=off)"
    parts = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        parts.append(f"{path.name} {caches.size(path) / 1e6:.1f} MB")
    return f"{root} ({', '.join(parts) or 'empty'}; {caches.VARIABLE} moves it)"


def _info() -> None:
    """Say versions, cores, what runs the frozen stage, and where caches lie."""
