"""What bitwise equality of a resumed run depends on besides settings and state."""

import functools
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import jax

from qlrjax.native import outlook
from qlrjax.training.kernels import LIBRARY

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
_JAX_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)

Fingerprint = dict[str, str]


def take() -> Fingerprint:
    """The fingerprint of this process."""
    values = {**_versions(), **{name: str(getattr(jax.config, name)) for name in _JAX_SETTINGS}}
    values["python"] = platform.python_version()
    values["platform"] = f"{platform.system()} {platform.machine()}"
    values["processor"] = _processor()
    values["cpus"] = str(_visible_cpus())
    values["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "")
    values["training"] = outlook(LIBRARY)
    values["device"] = f"{jax.default_backend()} {jax.devices()[0].device_kind}"
    return values


def of_devices(taken: Fingerprint, devices: int) -> Fingerprint:
    """The same where so many devices share the work, and so split its sums."""
    several = {"device": f"{devices} x {taken.get('device', 'unknown')}"}
    return taken | several if devices > 1 else taken


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """What differs, one phrase each."""
    names = sorted({*then, *now})
    return tuple(
        f"{name} was {then.get(name, 'unknown') or 'empty'}, is {now.get(name) or 'empty'}"
        for name in names
        if then.get(name) != now.get(name)
    )


# Every checkpoint asks, and neither can change while the process lives.
@functools.cache
def _versions() -> Fingerprint:
    return {name: metadata.version(name) for name in _PACKAGES}


def _visible_cpus() -> int:
    # XLA sizes its thread pool, and so the order of its sums, by the CPUs the process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
