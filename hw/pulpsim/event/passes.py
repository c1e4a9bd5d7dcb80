"""An event pass by pass, in the manner of Arm's Vela: what each takes, moves and waits for."""

from typing import Any

from pulpsim.cost import blocks
from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.platform import Platform
from pulpsim.event import bounds
from pulpsim.event.event import EventCost, PassCost

Row = dict[str, Any]
INTEGER_MACS = 4.0  # of a core in a cycle, packed bytes; FP32 units do one


def rows(result: EventCost) -> list[Row]:
    """One row a layer and pass, over all its runs.

    Bytes in L1 and L2 are the most that is held at any moment; a pass without blocks of its own
    holds its tensors in L2 all the time (frozen maps). `least_MB` is what any schedule of the pass
    must move off chip. `utilisation` is multiply-accumulates over the most that the units could do;
    `bound` names what the pass waits for: cores, the DMA between L2 and L1, or off-chip RAM.
    """
    total = result.cost.cycles
    return [_row(row, result, total) for row in result.passes]


def _row(row: PassCost, result: EventCost, total: float) -> Row:
    work, cost, count = row.scheduled.work, row.cost, row.scheduled.count
    least = None
    if isinstance(work, BlockedProduct | BlockedPlanes):
        least = bounds.least_bytes(work, blocks.block_bytes(result.platform)) * count / 1e6
    return {
        "layer": row.scheduled.layer if row.scheduled.layer >= 0 else None,
        "name": row.scheduled.name,
        "step": row.scheduled.step,
        "stays": row.blocked.stationary if row.blocked else None,
        "block": "x".join(map(str, row.blocked.block)) if row.blocked else None,
        "tile": "x".join(map(str, row.tile)),
        "runs": count,
        "l1_kB": cost.l1_bytes / 1e3,
        "l2_kB": row.blocked.held_bytes / 1e3 if row.blocked else None,
        "off_chip_MB": cost.external_bytes / 1e6,
        "least_MB": least,
        "cycles": cost.cycles,
        "s": cost.cycles / result.platform.cluster.clock_hz,
        "J": row.energy.total_joules,
        "share": cost.cycles / total,
        "utilisation_share": cost.work / cost.cycles / peak(result.platform, row.scheduled.step),
        "bound": bound(row),
    }


def peak(platform: Platform, step: str) -> float:
    """Most MACs a cycle: four bytes a core, or one a FP32 unit."""
    cluster = platform.cluster
    if step == "frozen":
        return INTEGER_MACS * cluster.cores
    return float(min(cluster.cores, cluster.fpus))


def bound(row: PassCost) -> str:
    """What a pass waits for longest."""
    busy = {
        "compute": row.cost.compute_cycles,
        "L2": row.cost.dma_cycles,
        "RAM": row.cost.outside_cycles,
    }
    return max(busy, key=lambda part: busy[part])
