"""Time of a double-buffered tile loop: the law that the RTL rows of `tiles.csv` are held to.

While the cores compute tile t, the DMA fetches the operands of tile t + 1 and writes the results of
tile t - 1. A loop takes its first fetch, a step per tile, and its last write; in the first step
there is nothing to write yet, in the last nothing left to fetch. A step takes the longer of the two
sides, each delayed by the other, because they meet at the banks: every beat moved beside computing
cores costs them 0.05 cycles and the DMA 0.10. Both are means over the kernels of the developers'
`tiles.md` (section 4: a DMA that never stops moves 0.94 beats a cycle one way and slows the cores
by 4.7 %, 1.83 both ways and 9.1 %; section 1: b), for 16 banks and 8 cores; fewer banks meet more
often, fewer cores delay less. None is fitted to a row.
"""

import dataclasses

from pulpsim.cost import cached, dma
from pulpsim.cost.dma import NOTHING, Flow, Numbers
from pulpsim.cost.machine import Machine

STOLEN = 0.05  # cycles that the cores lose for each beat moved beside them
DELAY = 0.10  # that the DMA loses for each beat moved beside eight computing cores


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Equal rounds of the double buffer.

    Attributes:
        count: How many.
        compute: Cycles of the kernels, the contention among cores included.
        fetch: Read for a round.
        write: Written of a round.
    """

    count: Numbers
    compute: Numbers
    fetch: Flow = NOTHING
    write: Flow = NOTHING


def loop_cycles(
    machine: Machine,
    rounds: list[Rounds],
    edge: Rounds,
    *,
    before: Flow = NOTHING,
    after: Flow = NOTHING,
    waits: bool = False,
) -> tuple[Numbers, Numbers, Numbers]:
    """Cycles of a loop, of which the cores compute, and in which the DMA is busy.

    Args:
        machine: The chip.
        rounds: All rounds, in classes.
        edge: A round like the first and the last: its fetch opens the loop, its write ends it.
        before: Fetched once, with the first round.
        after: Written once behind the last round, instead of its write.
        waits: Operands in place have two buffers only, so that a step writes before it fetches.
    """
    xp = machine.xp
    count = sum((one.count for one in rounds), 0.0)
    first = queue(machine, edge.fetch + before)
    last = queue(machine, after if after is not NOTHING else edge.write)
    cycles, compute, busy = machine.offload_cycles + first + last, 0.0, first + last
    for one in rounds:
        both, alone = _step(machine, one, waits)
        cycles = cycles + one.count * both
        compute = compute + one.count * one.compute
        busy = busy + one.count * alone
    # The first step has nothing to write, the last nothing to fetch; a lone one neither.
    lone, several = xp.where(count <= 1, 1.0, 0.0), xp.where(count <= 1, 0.0, 1.0)
    whole, moving = _step(machine, edge, waits)
    reads, reading = _step(machine, dataclasses.replace(edge, write=NOTHING))
    writes, writing = _step(machine, dataclasses.replace(edge, fetch=NOTHING))
    still = edge.compute + machine.tile_cycles
    cycles = cycles + several * (reads + writes - 2 * whole) + lone * (still - whole)
    busy = busy + several * (reading + writing - 2 * moving) - lone * moving
    return cycles, compute, busy


def step(machine: Machine, one: Rounds, *, waits: bool = False) -> Numbers:
    """Cycles of one round: the cores and the DMA side by side, meeting at the banks."""
    return _step(machine, one, waits)[0]


def _step(machine: Machine, one: Rounds, waits: bool = False) -> tuple[Numbers, Numbers]:
    """Cycles of a round, and of its transfers if no core were in their way."""
    xp, flow = machine.xp, one.fetch + one.write
    compute = one.compute + machine.tile_cycles
    if machine.dma is None:  # nothing beside the cores: they wait for their cache
        return compute + queue(machine, flow), queue(machine, flow)
    alone = queue(machine, one.fetch) + queue(machine, one.write) if waits else queue(machine, flow)
    beats = flow.beats * (16 / machine.platform.cluster.tcdm_banks)
    met = DELAY * machine.cores / 8 * beats * xp.minimum(1.0, compute / xp.maximum(alone, 1.0))
    if waits:
        share = one.fetch.beats / xp.maximum(flow.beats, 1.0)
        moving = queue(machine, one.fetch, met * share)
        moving = moving + queue(machine, one.write, met * (1 - share))
    else:
        moving = queue(machine, flow, met)
    return xp.maximum(compute + STOLEN * beats, moving), alone


def queue(machine: Machine, flow: Flow, met: Numbers = 0.0) -> Numbers:
    """Cycles of transfers queued together; 0 where tiles are read in place."""
    if machine.platform.caches is not None:
        return cached.cycles(flow)
    if machine.dma is None:
        return 0.0
    return dma.queue_cycles(flow, machine.dma, machine.xp, met)
