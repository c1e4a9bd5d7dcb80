"""What the tiler knows of a chip: time of a kernel, of a transfer, and what fits where.

A `Machine` is a `Platform` seen in cycles; candidates are costed as arrays, all at once.
"""

import dataclasses
from typing import Any

import numpy as np

from pulpsim.cost import cached, contention, dma, ram
from pulpsim.cost.chip import Dma
from pulpsim.cost.dma import Flow
from pulpsim.cost.platform import Platform
from pulpsim.kernels import Kernel, find

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Machine:
    """One chip in cycles.

    Attributes:
        platform: Where the rest comes from.
        xp: `numpy` or `jax.numpy`.
        cores: Workers.
        l1_bytes: For tiles, stacks taken off.
        dma: The engine between L2 and L1, or None where tiles are read in place or are cached.
        l2_bytes: For operands that are fetched from outside once and read several times.
        stall_rates: Stalls per instruction of every kernel.
    """

    platform: Platform
    xp: Any
    cores: Numbers
    l1_bytes: Numbers
    dma: Dma | None
    l2_bytes: Numbers
    stall_rates: dict[str, Numbers]

    @property
    def moves_tiles(self) -> bool:
        """Whether tiles travel between L2 and L1."""
        return self.platform.moves_tiles

    @property
    def external_bytes_per_cycle(self) -> float:
        """Bandwidth of the off-chip RAM."""
        return self.platform.external.bytes_per_s / self.platform.cluster.clock_hz

    def external_cycles(self, rows: Numbers, row_bytes: Numbers) -> Numbers:
        """Cycles of the off-chip RAM for rows that lie apart there."""
        seconds = ram.seconds(rows, row_bytes, self.platform.external)
        return seconds * self.platform.cluster.clock_hz

    @property
    def storage_bytes_per_cycle(self) -> float:
        """Bandwidth of the non-volatile memory."""
        return self.platform.storage.read_bytes_per_s / self.platform.cluster.clock_hz

    @property
    def tile_cycles(self) -> int:
        """Loop and barrier of a tile."""
        return self.platform.cluster.tile_cycles

    @property
    def barrier_cycles(self) -> int:
        """Between two kernels on one tile."""
        return self.platform.cluster.barrier_cycles

    @property
    def offload_cycles(self) -> int:
        """Before a loop starts."""
        return self.platform.cluster.offload_cycles

    def kernel(self, kernel: str | Kernel, items: Numbers, dims: tuple[Numbers, ...]) -> Numbers:
        """Cycles of one kernel call on one tile."""
        return contention.kernel_cycles(
            self.platform,
            kernel,
            items,
            dims,
            cores=self.cores,
            stalls_per_instruction=self.stall_rates.get(find(kernel).name),
        )

    def transfer(self, rows: Numbers, row_bytes: Numbers, contiguous: Any, write: bool) -> Flow:
        """A tile of `rows` rows on its way, one block where `contiguous`."""
        if self.platform.caches is not None:
            cache = self.platform.caches
            return cached.transfer(rows, row_bytes, contiguous, cache, self.xp, write=write)
        if self.dma is None:
            return dma.NOTHING
        line = dma.block(rows * row_bytes, self.dma, self.xp, write=write)
        apart = dma.strided(rows, row_bytes, self.dma, self.xp, write=write)
        return dma.either(contiguous, line, apart, self.xp)


def machine(platform: Platform, *, l2_bytes: float | None = None) -> Machine:
    """The chip of a platform file, in NumPy.

    Args:
        platform: The chip.
        l2_bytes: What is left of L2; all that is not reserved unless given.
    """
    cluster = platform.cluster
    if l2_bytes is None:
        l2_bytes = float(l2_free_bytes(platform))
    return Machine(
        platform,
        np,
        float(cluster.cores),
        float(cluster.l1_bytes - cluster.l1_reserved_bytes),
        platform.dma,
        l2_bytes,
        {} if platform.is_cortex else contention.stall_rates(cluster),
    )


def l2_free_bytes(platform: Platform) -> int:
    """Bytes of L2 for tensors beside staging buffers; 0 for a chip without L2."""
    return 0 if platform.l2 is None else l2_bytes(platform) - platform.l2.staging_bytes


def l2_bytes(platform: Platform) -> int:
    """Bytes of L2 for tensors and blocks; 0 for a chip without L2."""
    return 0 if platform.l2 is None else platform.l2.l2_bytes - platform.l2.reserved_bytes
