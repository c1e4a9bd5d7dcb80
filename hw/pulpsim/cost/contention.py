"""Stall cycles per instruction of every kernel on a given cluster, and the cost of a tile.

What the cores of one kernel ask for settles into a rhythm, so the stalls that they cost each other
at banks and FPUs are proportional to its instructions. The rate of each kernel comes from
simulating one reference tile with `pulpsim.cluster`; costs of other tiles are their exact closed
forms plus rate times instructions. Tests compare that with simulations of the tiles that a network
really uses.
"""

import functools
import json
from pathlib import Path
from typing import Any

from pulpsim.cost import cortex, cortex_m7
from pulpsim.cost.chip import Cluster, FpuMap
from pulpsim.cost.platform import Platform, PlatformError
from pulpsim.kernels import KERNELS, Kernel, find

Numbers = Any

TABLE = Path(__file__).with_name("stalls.json")
_UNITS = 4  # of the static and the dynamic map, as in the RTL
_BANKS = 16  # of most clusters in the table


def stall_rates(cluster: Cluster) -> dict[str, float]:
    """Stalls per instruction of every kernel with a closed form on this cluster; see `stall_rate`.

    Raises:
        PlatformError: FPUs are shared, but not four of them.
    """
    costed = [kernel for kernel in KERNELS.values() if kernel.form is not None]
    latency, banks = cluster.fpu_latency_cycles, cluster.tcdm_banks
    if cluster.cores == 1 and not latency:
        return dict.fromkeys((kernel.name for kernel in costed), 0.0)
    cores, fpu = _simulated_as(cluster)
    if latency or entry(cores, fpu, banks) not in _table():
        found = simulated(cores, fpu, latency, banks)
        return {kernel.name: found.get(kernel.name, 0.0) for kernel in costed}
    return {kernel.name: stall_rate(cluster, kernel) for kernel in costed}


def stall_rate(cluster: Cluster, kernel: str | Kernel) -> float:
    """Stalls per instruction of one kernel on this cluster.

    Common clusters are looked up in `stalls.json`, which `experiments/hw_stalls.py` writes; other
    clusters, and kernels that are not in it yet, are simulated once per process.

    Raises:
        PlatformError: FPUs are shared, but not four of them.
    """
    record, latency, banks = find(kernel), cluster.fpu_latency_cycles, cluster.tcdm_banks
    if cluster.cores == 1 and not latency:
        return 0.0
    cores, fpu = _simulated_as(cluster)
    table = {} if latency else _table().get(entry(cores, fpu, banks), {})
    if record.name in table and KERNELS.get(record.name) is record:
        return table[record.name]
    from pulpsim.cluster import simulator  # needs JAX, which a look-up does not

    return simulator.stalls_per_instruction(record, cores, fpu, latency, banks)


def entry(cores: int, fpu: FpuMap, banks: int = _BANKS) -> str:
    """A cluster's name in `stalls.json`."""
    return f"{cores} {fpu}" + (f" {banks} banks" if banks != _BANKS else "")


@functools.cache
def simulated(
    cores: int, fpu: FpuMap, fpu_latency: int = 0, banks: int = _BANKS
) -> dict[str, float]:
    """Rates of all kernels with a reference tile, simulated once per process."""
    from pulpsim.cluster import simulator

    return simulator.rates(tuple(KERNELS.values()), cores, fpu, fpu_latency, banks)


def _simulated_as(cluster: Cluster) -> tuple[int, FpuMap]:
    cores, fpu = cluster.cores, cluster.fpu_map
    if fpu != "private" and cluster.fpus != min(_UNITS, cores):
        raise PlatformError(
            f"cluster.fpus = {cluster.fpus}: shared FPUs are simulated with {_UNITS} units, as on "
            "the RTL; give 4, or one per core with fpu_map private"
        )
    return cores, "private" if cores <= _UNITS else fpu  # nobody shares


@functools.cache
def _table() -> dict[str, dict[str, float]]:
    return json.loads(TABLE.read_text(encoding="utf-8"))["rates"]


def kernel_cycles(
    platform: Platform,
    kernel: str | Kernel,
    items: Numbers,
    dims: tuple[Numbers, ...],
    *,
    cores: Numbers | None = None,
    stalls_per_instruction: Numbers | None = None,
) -> Numbers:
    """Cycles of one kernel call on one tile: its slowest core, contention among cores included.

    Args:
        platform: The chip; a Cortex-M takes its own timing of the same loops.
        kernel: Its name or record.
        items: What the tile has to split over the cores.
        dims: The other sizes, in the order of the kernel's `Work.dims`.
        cores: Overrides the platform's number of workers (may be traced).
        stalls_per_instruction: Overrides the simulated rate (may be traced).

    Raises:
        ValueError: The kernel is unknown or has no closed form.
    """
    record, cluster = find(kernel), platform.cluster
    if platform.cortex_m4f is not None:
        return cortex.tile_cycles(record, items, dims, platform.cortex_m4f)
    if platform.cortex_m7 is not None and platform.caches is not None:
        return cortex_m7.tile_cycles(record, items, dims, platform.cortex_m7, platform.caches)
    if cores is None:
        cores = cluster.cores
    if stalls_per_instruction is None:
        stalls_per_instruction = stall_rate(cluster, record)
    alone = record.tile_spent(items, dims, cores)
    return alone.cycles + stalls_per_instruction * alone.instr
