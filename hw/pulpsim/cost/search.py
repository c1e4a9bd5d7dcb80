"""The cheapest tile of every pass on one machine, each distinct pass searched once."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import Cost, choose

RATIO = 1.2
COARSE = 1.7
MANY = 500
SLACK = 0.01
Tile = tuple[int, ...]


@runtime_checkable
class Tiled(Protocol):
    """A pass over tiles: what it is in words, what can be tried, and what a tile costs."""

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        ...

    def candidates(self, ratio: float = 1.0) -> tuple[np.ndarray, ...]:
        """Tile sizes to try, an array an axis."""
        ...

    @property
    def least_bytes(self) -> Callable[..., Any]:
        """(*tile) -> L1 that tiles need at the very least."""
        ...

    @property
    def cost(self) -> Callable[..., Cost]:
        """(machine, *tile) -> cost of tiles."""
        ...


class Costs:
    """Tile searches on one machine, remembered by pass."""

    def __init__(self, chip: Machine, ratio: float = RATIO, slack: float = SLACK) -> None:
        """See `tiling.sizes` and `tiling.choose`."""
        self.machine = chip
        self.ratio = ratio
        self.slack = slack
        self._found: dict[Any, tuple[Tile, Cost]] = {}

    def __call__(self, work: Tiled) -> tuple[Tile, Cost]:
        """The cheapest tile of a pass and its cost.

        Raises:
            DoesNotFit: No tile fits into L1.
        """
        if work not in self._found:
            tiles = self._worth_trying(work)
            cost = work.cost(self.machine, *tiles)
            if not np.any(cost.l1_bytes <= self.machine.l1_bytes):  # those near the limit are over
                tiles = work.candidates(self.ratio)
                cost = work.cost(self.machine, *tiles)
            best = choose(cost, self.machine, work.words, self.slack)
            self._found[work] = tuple(int(axis[best]) for axis in tiles), cost.at(best)
        return self._found[work]

    def _worth_trying(self, work: Tiled) -> tuple[np.ndarray, ...]:
        """Candidates that may fit, small ones too: a pass waits for its first tile to arrive.

        Where there are many, neighbours lie further apart.
        """
        tiles = work.candidates(self.ratio)
        if self.ratio > 1 and len(tiles[0]) > MANY:
            tiles = work.candidates(max(self.ratio, COARSE))
        kept = work.least_bytes(*tiles) <= float(self.machine.l1_bytes)
        return tuple(sizes[kept] for sizes in tiles) if kept.any() else tiles
