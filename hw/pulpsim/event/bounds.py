"""The least that any schedule must move between off-chip RAM and the chip, pass by pass.

A product of M N K multiply-accumulates with S words of fast memory moves at least 2 MNK / sqrt(S)
- 2 S words (Smith, Lowery, Langou, van de Geijn, "A tight I/O lower bound for matrix
multiplication", 2019), whatever the order of its loops, and each operand and the result at least
once. Operands that are stored in fewer bytes count with the fewest bytes an element that the
product has, and S with as many such elements as the on-chip memory holds; so the bound holds for
mixed widths, too, and is not tight for them. All other passes move each tensor once, and so does
the schedule.

The bound is of a pass by itself: whoever fuses two passes may move less than their sum.
"""

import math

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Stream


def once_bytes(work: BlockedProduct | BlockedPlanes) -> float:
    """Every tensor of a pass once: what comes, and what leaves."""
    if isinstance(work, BlockedPlanes):
        return work.external_bytes()
    parts = ((work.a, work.n * work.k), (work.b, work.k * work.m), (work.c, work.n * work.m))
    return float(sum(side.moved_bytes(elements) for side, elements in parts))


def least_bytes(work: BlockedProduct | BlockedPlanes, on_chip_bytes: int | float) -> float:
    """The least that a pass moves, with so much on-chip memory."""
    once = once_bytes(work)
    if isinstance(work, BlockedPlanes):
        return once
    streams = (*work.a.reads, *work.b.reads, *work.c.reads, *work.c.writes)
    outside = [one for one in streams if not one.resident]
    if (
        any(_resident(side.reads or side.writes) for side in (work.a, work.b, work.c))
        or not outside
    ):
        return once
    size = min(one.element_bytes * one.share for one in outside)
    held = on_chip_bytes / size
    words = 2 * work.macs / math.sqrt(held) - 2 * held
    return max(once, size * words)


def _resident(streams: tuple[Stream, ...]) -> bool:
    return any(one.resident for one in streams)
