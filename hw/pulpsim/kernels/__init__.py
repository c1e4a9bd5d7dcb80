"""The kernels of training and integer inference: one record each, found in this package's modules.

A module with a `KERNELS` tuple and the `.s` file beside it are all that a kernel needs
(docs/adding-a-kernel.md). `p1_2x4` is the forward pass of pointwise layers, `p3_2x4` their input
gradient, `p2a_2x4` their weight gradient.
"""

import importlib
import pkgutil

from pulpsim.kernels.record import Kernel


def _discover() -> dict[str, Kernel]:
    """Records of all modules, in the order of the modules' names."""
    found: dict[str, Kernel] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        for kernel in getattr(module, "KERNELS", ()):
            if kernel.name in found:
                raise ValueError(f"two kernels are called {kernel.name!r}; rename one of them")
            found[kernel.name] = kernel
    return found


KERNELS: dict[str, Kernel] = _discover()


def find(kernel: str | Kernel) -> Kernel:
    """The record of a kernel's name; a record is its own.

    Raises:
        ValueError: The kernel is unknown.
    """
    if isinstance(kernel, Kernel):
        return kernel
    if kernel not in KERNELS:
        names = ", ".join(sorted(KERNELS))
        raise ValueError(f"there is no kernel {kernel!r}; choose one of {names}")
    return KERNELS[kernel]


__all__ = ["KERNELS", "Kernel", "find"]
