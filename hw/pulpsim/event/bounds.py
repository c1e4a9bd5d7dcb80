"""The least that any schedule must move between off-chip RAM and the chip, pass by pass.

A product of M N K multiply-accumulates with S words of fast memory moves at least 2 MNK / sqrt(S)
- 2 S words (Smith, Lowery, Langou, van de Geijn, "A tight I/O lower bound for matrix
multiplication", 2019), whatever the order of its loops, and each operand and the result at least
once. Where operands are stored in different widths, the narrowest one counts for all, and S is as
many of its elements as the on-chip memory holds; so the bound holds for them, too, and is not
tight. All other passes move each tensor once, and so does
the schedule.

The bound is of a pass by itself: whoever fuses two passes may move less than their sum.
"""

import math

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct


def once_bytes(work: BlockedProduct | BlockedPlanes) -> int | float:
    """Every tensor of a pass once: what comes, and what leaves."""
    if isinstance(work, BlockedPlanes):
        return float(work.external_bytes())
    parts = ((work.a, work.n * work.k), (work.b, work.k * work.m), (work.c, work.n * work.m))
    return float(sum(side.moved_bytes(elements) for side, elements in parts))


def least_bytes(work: BlockedProduct | BlockedPlanes, on_chip_bytes: int | float) -> int | float:
    """The least that a pass moves, with so much on-chip memory."""
    once = once_bytes(work)
    if isinstance(work, BlockedPlanes):
        return once
    sides = [side.reads or side.writes for side in (work.a, work.b)]
    sides.append(work.c.writes or work.c.reads)
    if any(one.resident for streams in sides for one in streams):
        return once
    size = min(sum(one.bytes_of(1) for one in streams) for streams in sides)
    held = on_chip_bytes / size
    return max(once, size * (2 * work.macs / math.sqrt(held) - 2 * held))
