"""Choosing the tile of a layer's pass: exhaustive search under the L1 size, with double buffers.

Tiles are double-buffered; `pulpsim.cost.loop` has the law. An operand that is read by a single step
needs one buffer, others two, and three where it is changed in place: the tile before is still
written while the next is fetched. Operands that live outside (HyperRAM, MRAM) are staged through L2
behind the computation: a pass costs the longer of its steps and its outside traffic, behind the
first tile's arrival, which nothing hides. An outside operand that fits into the free L2 is fetched
once, otherwise as often as the loops around it read it again.

All candidate tiles of a pass are costed at once as arrays; `search` takes the cheapest that fits.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pulpsim.cost.dma import ceil_div
from pulpsim.cost.machine import Machine

Numbers = Any
Place = Literal["l2", "external", "storage"]


class DoesNotFit(ValueError):
    """No tile of a pass fits into L1."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a pass per candidate tile; arrays of one shape, or numbers.

    Attributes:
        cycles: Time of the pass.
        compute_cycles: Of which the cores compute, if nothing else limited them.
        dma_cycles: The DMA is busy.
        outside_cycles: The outside memories are busy.
        l1_bytes: Needed in L1.
        dma_bytes: Moved between L2 and L1.
        external_bytes: Moved from and to the off-chip RAM.
        storage_bytes: Read from the non-volatile memory.
        work: MACs or elements.
    """

    cycles: Numbers
    compute_cycles: Numbers
    dma_cycles: Numbers
    outside_cycles: Numbers
    l1_bytes: Numbers
    dma_bytes: Numbers
    external_bytes: Numbers
    storage_bytes: Numbers
    work: Numbers

    def __add__(self, other: "Cost") -> "Cost":
        mine, theirs = vars(self), vars(other)
        total = {key: mine[key] + theirs[key] for key in mine}
        total["l1_bytes"] = max(self.l1_bytes, other.l1_bytes)
        return Cost(**total)

    def times(self, count: int | float) -> "Cost":
        """This cost `count` times in a row."""
        values = {key: value * count for key, value in vars(self).items()}
        return Cost(**{**values, "l1_bytes": self.l1_bytes})

    def at(self, index: Any) -> "Cost":
        """One candidate's cost, as Python floats."""
        shape = np.shape(self.cycles)
        return Cost(
            *(
                float(np.broadcast_to(np.asarray(getattr(self, field.name)), shape)[index])
                for field in dataclasses.fields(self)
            )
        )


ZERO = Cost(*(0.0,) * 9)


def split(total: Numbers, tile: Numbers, xp: Any) -> list[tuple[Numbers, Numbers]]:
    """(size, count) of the full tiles and of the remainder (count 0 or 1, size at least 1)."""
    full = total // tile
    rest = total - full * tile
    return [(tile, full), (xp.maximum(rest, 1.0), xp.minimum(rest, 1.0))]


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What a pass moves of one operand: bytes in all, in so many rows that lie apart outside."""

    place: Place
    size_bytes: Numbers
    rows: Numbers = 1.0


def outside(machine: Machine, traffic: Sequence[Traffic]) -> tuple[Numbers, ...]:
    """Cycles, external bytes and storage bytes of what a pass moves from and to outside."""
    far = [one for one in traffic if one.place == "external"]
    busy = sum((machine.external_cycles(one.rows, one.size_bytes / one.rows) for one in far), 0.0)
    external = sum((one.size_bytes for one in far), 0.0)
    stored = sum((one.size_bytes for one in traffic if one.place == "storage"), 0.0)
    cycles = machine.xp.maximum(busy, stored / machine.storage_bytes_per_cycle)
    return cycles, external, stored


@functools.lru_cache(maxsize=4096)
def sizes(total: int, unit: int = 1, ratio: float = 1.0, least: int = 1) -> np.ndarray:
    """Candidate tile sizes, `total` among them.

    Up to 32 units, every multiple of the unit. Above, the even splits of `total` (of the sizes that
    give one number of tiles the smallest needs least memory) and the multiples of 16, which share
    out evenly over 2, 4, 8 and 16 cores.

    Args:
        total: What is split.
        unit: Sizes are multiples of this, or `total` itself.
        ratio: Above 1, neighbours in either list that are nearer than this factor are left out.
        least: No smaller size, unless `total` is.
    """
    if total <= 32 * unit:
        every = np.arange(unit, total + unit, unit)
        found = np.unique(np.minimum(every, total))
        return found[(found >= least) | (found == total)].astype(np.float64)
    even = ceil_div(ceil_div(total, np.arange(1, total + 1)), unit) * unit
    step = 16 * unit // math.gcd(16, unit)
    whole = np.arange(step, total + 1, step)
    kept = [*_thinned(even, ratio, least), *_thinned(whole, ratio, least), total]
    return np.unique(np.minimum(kept, total)).astype(np.float64)


def _thinned(found: np.ndarray, ratio: float, least: int) -> list[int]:
    kept: list[int] = []
    for size in np.unique(found)[::-1]:
        if size >= least and (not kept or kept[-1] >= ratio * size):
            kept.append(int(size))
    return kept


def is_set(number: Numbers) -> bool:
    """Whether an optional number is there: not a plain 0. Traced numbers are."""
    return not (isinstance(number, int | float) and number == 0)


def grid(*axes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every combination, as flat arrays."""
    return tuple(axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))


def choose(cost: Cost, machine: Machine, what: str, slack: float = 0.0) -> int:
    """Index of the best candidate that fits.

    Args:
        cost: Of all candidates, as arrays.
        machine: The chip.
        what: Names the pass in the error.
        slack: Among candidates slower than the fastest by at most this share, the one that moves
            least off-chip data wins, then the one that moves least over the DMA.

    Raises:
        DoesNotFit: None fits.
    """
    shape = np.shape(cost.cycles)
    outside_bytes = cost.external_bytes + cost.storage_bytes
    busy_cycles = cost.compute_cycles + cost.dma_cycles
    need, far, near, busy = (
        np.broadcast_to(values, shape)
        for values in (cost.l1_bytes, outside_bytes, cost.dma_bytes, busy_cycles)
    )
    fits = need <= machine.l1_bytes
    if not fits.any():
        raise DoesNotFit(
            f"no tile of {what} fits into {machine.l1_bytes:.0f} bytes of L1; the smallest needs "
            f"{need.min():.0f}: give the platform a larger cluster.l1_bytes"
        )
    cycles = np.where(fits, cost.cycles, np.inf)
    good = np.flatnonzero(cycles <= cycles.min() * (1 + slack + 1e-12))
    return int(good[np.lexsort((need[good], busy[good], near[good], far[good]))[0]])
