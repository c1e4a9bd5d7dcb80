"""Stall cycles per instruction of every kernel on a given cluster, and the cost of a tile.

Streams of one kernel settle into a rhythm, so the stalls that its cores cost each other at banks
and FPUs are proportional to its instructions. The rate of each kernel comes from simulating one
reference tile with `pulpsim.cluster`; costs of other tiles are their exact closed forms plus rate
times instructions. Tests compare that with simulations of the tiles that a network really uses.
"""

import functools
from typing import Any

from pulpsim import cortex, counts
from pulpsim.platform import Cluster, Platform

Numbers = Any

# Floating-point operations per instruction in the innermost loop of each kernel.
_FP_SHARE = {
    "p1_2x4": 8 / 14, "p2_2x4": 8 / 14, "p2a_2x4": 8 / 14, "p3_2x4": 8 / 14, "p4_4x4": 16 / 24,
    "d1_col": 9 / 13, "d3_col": 9 / 13, "d2a_wgrad": 9 / 13, "d1s_col": 9 / 16,
    "d2sa_wgrad": 9 / 16, "d3s_igrad": 9 / 15, "l1_fwd": 4 / 9, "l2_igrad": 4 / 9,
    "l3a_wgrad": 8 / 26, "e1_sgd": 6 / 16, "e2_trick": 4 / 16, "e4_bn": 4 / 12,
    "e5_stat": 8 / 12, "e6a_bnsum": 8 / 16, "e6b_bnbwd": 8 / 20,
}  # fmt: skip


def stall_rates(cluster: Cluster) -> dict[str, float]:
    """Stalls per instruction of every kernel on this cluster."""
    return dict(_stall_rates(cluster.cores, cluster.fpus, cluster.fpu_map))


@functools.cache
def _stall_rates(cores: int, fpus: int, fpu_map: str) -> dict[str, float]:
    sharing = max(1.0, cores / fpus)
    rates = {}
    for name in counts.KERNELS:
        busy = sharing * _FP_SHARE.get(name, 0.0)
        rates[name] = max(0.0, busy * 1.06 - 1.0) + (0.04 if cores > 4 else 0.01 * (cores > 1))
    return rates


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
        stalls_per_instruction = stall_rates(cluster)[name]
    alone = counts.tile_cycles(name, items, dims, cores)
    return (
        around + alone + stalls_per_instruction * counts.tile_instructions(name, items, dims, cores)
    )
