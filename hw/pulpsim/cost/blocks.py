"""Blocks: what stands in the on-chip memory behind the DMA while off-chip RAM feeds it.

Two levels: the off-chip RAM feeds blocks in L2, whose tiles feed L1. On a chip without L2 the
blocks stand in the SRAM and the cores work on them in place. A block arrives as it is stored (codes
of a replay, a raw convolution output in FP32 or FP16, a gradient map), a `Step` turns it into the
FP32 operand, once per arrival, and a kernel uses it. What is held at each moment is a list of
`Buffer`s that the schedule writes out; bytes between RAM and blocks are counted exactly.
"""

import dataclasses
from typing import Any

import numpy as np

from pulpsim.cost.machine import l2_bytes
from pulpsim.cost.planes import Call, Operand, Planes
from pulpsim.cost.platform import Platform
from pulpsim.cost.search import Costs
from pulpsim.cost.tiling import ZERO, Cost, DoesNotFit

Numbers = Any
VECTORS_BYTES = 32_768  # of a pass: scales, shifts, sums of up to 1,024 channels


@dataclasses.dataclass(frozen=True)
class Stream:
    """A tensor that passes through in blocks.

    Attributes:
        name: Of the tensor; passes that differ in nothing else cost the same.
        element_bytes: As stored.
        share: Stored elements per element of the block (of the images behind columns, of vectors
            behind planes), or elements per plane of a pass over planes.
        by_sample: A sample's channels lie side by side in memory, as in a latent; otherwise a
            channel's samples do.
        resident: It stays on chip between passes, so that nothing comes from outside.
    """

    name: str = dataclasses.field(compare=False)
    element_bytes: int | float = 4.0
    share: int | float = 1.0
    by_sample: bool = False
    resident: bool = False

    def bytes_of(self, elements: Numbers) -> Numbers:
        """Stored bytes behind so many elements."""
        return elements * (self.element_bytes * self.share)


@dataclasses.dataclass(frozen=True)
class Step:
    """Kernels that run over a block in L2, tile by tile: decode, normalise, mask, update.

    Attributes:
        calls: What runs on a tile.
        reads: Bytes an element of every tensor read.
        writes: Likewise written.
        scratch_bytes: Bytes an element in L1 that are never moved.
        unit: Elements of a row; a tile is some rows of some channels.
        apart: Rows are strided where they are written: a latent's channels, padded planes.
    """

    calls: tuple[Call, ...]
    reads: tuple[int | float, ...]
    writes: tuple[int | float, ...]
    scratch_bytes: int | float = 0.0
    unit: int = 4
    apart: bool = False

    def planes(self, channels: int, elements: int | float) -> Planes:
        """The pass over a block of `channels` rows of `elements`."""
        read = tuple(Operand(self.unit, size) for size in self.reads)
        written = tuple(
            Operand(self.unit, size, write=True, padded=self.apart) for size in self.writes
        )
        scratch = (Operand(self.unit, self.scratch_bytes, scratch=True),)
        rows = max(1, int(-(-elements // self.unit)))
        operands = (*read, *written, *(scratch if self.scratch_bytes else ()))
        return Planes(channels, rows, self.calls, operands)


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Bytes of the on-chip memory that a pass holds.

    Attributes:
        what: The tensor, or what is made of it.
        size_bytes: Of one copy.
        copies: 2 where one is filled or emptied while the other is used.

    Both are arrays while blocks are ranked.
    """

    what: str
    size_bytes: Numbers
    copies: Numbers = 1


@dataclasses.dataclass(frozen=True)
class Blocked:
    """How a pass is cut into blocks, and what it costs.

    Attributes:
        stationary: What stays while the others pass by, in words.
        block: Sizes of a block, as the pass names them.
        tile: Of the main kernel in L1.
        buffers: What stands in the on-chip memory at any moment.
        cost: Of the whole pass.
    """

    stationary: str
    block: tuple[int, ...]
    tile: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    cost: Cost

    @property
    def held_bytes(self) -> int | float:
        """On-chip memory that the pass takes."""
        return sum(buffer.size_bytes * buffer.copies for buffer in self.buffers)


def block_bytes(platform: Platform) -> int:
    """Bytes for blocks: free L2, or the SRAM of a chip without L2."""
    cluster = platform.cluster
    free = l2_bytes(platform)
    if platform.l2 is None:
        free = cluster.l1_bytes - cluster.l1_reserved_bytes
    return free - min(VECTORS_BYTES, free // 8)


def parts(total: int, size: int) -> list[tuple[int, int]]:
    """(size, count) of whole blocks and of the remainder."""
    whole, rest = divmod(total, size)
    return [(size, whole)] * (whole > 0) + [(rest, 1)] * (rest > 0)


def step_cost(search: Costs, step: Step | None, channels: int, elements: int | float) -> Cost:
    """Cost of a step over a block, zero without one."""
    if step is None:
        return ZERO
    return search(step.planes(channels, elements))[1]


def fits(sizes: np.ndarray, free: int | float, what: str) -> np.ndarray:
    """Indices of what fits.

    Raises:
        DoesNotFit: Nothing does.
    """
    found = np.flatnonzero(sizes <= free)
    if not found.size:
        raise DoesNotFit(
            f"no block of {what} fits into {free:.0f} bytes of on-chip memory; the smallest needs "
            f"{sizes.min():.0f}: give the platform more, or choose --schedule layer-by-sample"
        )
    return found
