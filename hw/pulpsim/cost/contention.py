"""Stall cycles per instruction of every kernel on a given cluster, and the cost of a tile.

Streams of one kernel settle into a rhythm, so the stalls that its cores cost each other at banks
and FPUs are proportional to its instructions. The rate of each kernel comes from simulating one
reference tile with `pulpsim.cluster`; costs of other tiles are their exact closed forms plus rate
times instructions. Tests compare that with simulations of the tiles that a network really uses.
"""

import functools
import json
from pathlib import Path
from typing import Any

from pulpsim.cost import cortex
from pulpsim.cost.platform import Cluster, FpuMap, Platform, PlatformError
from pulpsim.kernels import counts

Numbers = Any

TABLE = Path(__file__).with_name("stalls.json")
_UNITS = 4  # of the static and the dynamic map, as in the RTL


def stall_rates(cluster: Cluster) -> dict[str, float]:
    """Stalls per instruction of every kernel on this cluster.

    Common clusters are looked up in `stalls.json`, which `experiments/hw_stalls.py` writes; others
    are simulated, which takes a minute once per process.

    Raises:
        PlatformError: FPUs are shared, but not four of them.
    """
    cores, fpu = cluster.cores, cluster.fpu_map
    if cores == 1:
        return dict.fromkeys(counts.KERNELS, 0.0)
    if fpu != "private" and cluster.fpus != min(_UNITS, cores):
        raise PlatformError(
            f"cluster.fpus = {cluster.fpus}: shared FPUs are simulated with {_UNITS} units, as on "
            "the RTL; give 4, or one per core with fpu_map private"
        )
    if cores <= _UNITS:
        fpu = "private"  # nobody shares
    table = _table().get(f"{cores} {fpu}")
    return _complete(simulated(cores, fpu) if table is None else table)


def simulated(cores: int, fpu: FpuMap) -> dict[str, float]:
    """The same, simulated now."""
    from pulpsim.cluster import simulator

    return simulator.stalls_per_instruction(cores, fpu)


def _complete(rates: dict[str, float]) -> dict[str, float]:
    return {name: rates.get(name, 0.0) for name in counts.KERNELS}


@functools.cache
def _table() -> dict[str, dict[str, float]]:
    return json.loads(TABLE.read_text(encoding="utf-8"))["rates"]


def kernel_cycles(
    platform: Platform,
    name: str,
    items: Numbers,
    dims: tuple[Numbers, ...],
    *,
    cores: Numbers | None = None,
    stalls_per_instruction: Numbers | None = None,
) -> Numbers:
    """Cycles of one kernel call on one tile: launch, slowest core, contention, barrier.

    Args:
        platform: The chip; a Cortex-M4F takes its own timing of the same loops.
        name: Key of `counts.KERNELS`.
        items: What the tile has to split over the cores.
        dims: The other sizes, in the order of `counts.Kernel.dims`.
        cores: Overrides the platform's number of workers (may be traced).
        stalls_per_instruction: Overrides the simulated rate (may be traced).

    Raises:
        ValueError: The kernel is unknown.
    """
    cluster = platform.cluster
    around = cluster.offload_cycles + cluster.barrier_cycles
    if platform.cortex_m4f is not None:
        return around + cortex.tile_cycles(name, items, dims, platform.cortex_m4f)
    if cores is None:
        cores = cluster.cores
    if stalls_per_instruction is None:
        stalls_per_instruction = stall_rates(cluster)[counts.check_name(name)]
    alone = counts.tile_cycles(name, items, dims, cores)
    return (
        around + alone + stalls_per_instruction * counts.tile_instructions(name, items, dims, cores)
    )
