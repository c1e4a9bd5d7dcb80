"""Passes of the linear layer, a matrix times a vector for every sample."""

import dataclasses
from typing import Any

import numpy as np

from pulpsim.cost.loop import Rounds, loop_cycles
from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import Cost, Place, Traffic, outside, sizes, split

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Linear:
    """The linear layer over `samples` samples, one kernel call a sample; W[n, k] in tiles of rows.

    Attributes:
        kernel: `l1_fwd` (rows tiled), `l2_igrad` (columns tiled) or `l3a_wgrad` (rows tiled).
        n: Outputs.
        k: Inputs.
        samples: Calls per tile.
        place: Where W, or its gradient, lives.
    """

    kernel: str
    n: Numbers
    k: Numbers
    samples: Numbers = 1
    place: Place = "l2"

    @property
    def macs(self) -> Numbers:
        """Multiply-accumulates of all samples."""
        return self.n * self.k * self.samples

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        return f"{self.kernel} on {self.n} x {self.k}"

    @property
    def _tiled(self) -> Numbers:
        return self.k if self.kernel == "l2_igrad" else self.n

    def candidates(self, ratio: float = 1.0) -> tuple[np.ndarray, ...]:
        """Tiles (rows,) or (columns,) to try."""
        return (sizes(self._tiled, 4 if self.kernel == "l2_igrad" else 1, ratio),)

    def least_bytes(self, tile: Numbers) -> Numbers:
        """L1 that a tile needs with one buffer an operand."""
        return 4.0 * tile * (self.n if self.kernel == "l2_igrad" else self.k)

    def cost(self, machine: Machine, tile: Numbers) -> Cost:
        """Cost of a tile size, a number or an array."""
        xp = machine.xp
        steps = [
            dataclasses.replace(self._round(machine, size), count=count)
            for size, count in split(self._tiled, tile, xp)
        ]
        cycles, compute, busy = loop_cycles(machine, steps, self._round(machine, tile))
        other = self.n if self.kernel == "l2_igrad" else self.k
        both = 2.0 if self.kernel == "l3a_wgrad" else 1.0
        matrix = 4.0 * self.n * self.k * both
        out, external, stored = outside(machine, [Traffic(self.place, matrix)])
        fill = outside(machine, [Traffic(self.place, 4.0 * tile * other)])[0]
        zero = cycles * 0.0
        vectors = 4.0 * (self.n + self.k) * self.samples
        # The gradient is changed in place: the tile before is written while the next is fetched.
        buffers = 3.0 if self.kernel == "l3a_wgrad" else 2.0
        need = tile * other * 4.0 * xp.where(tile >= self._tiled, 1.0, buffers)
        return Cost(
            fill + xp.maximum(cycles, out),
            compute,
            busy,
            zero + out,
            need + 8.0 * (self.n + self.k),
            zero + (matrix + vectors if machine.moves_tiles else 0.0),
            zero + external,
            zero + stored,
            zero + self.macs,
        )

    def _round(self, machine: Machine, size: Numbers) -> Rounds:
        """A tile of the matrix and, for every sample, the vectors of its call."""
        columns = self.kernel == "l2_igrad"
        items = -(-size // 4) * 4 if columns else size
        other = (self.n if columns else self.k) * 1.0
        compute = machine.kernel(self.kernel, items, (other,)) * self.samples
        row = size * 0.0 + 4.0 * self.k
        vector = machine.transfer(size / size, row, size > 0, False).times(self.samples)
        result = machine.transfer(size / size, size * 4.0, size > 0, True).times(self.samples)
        if columns:
            whole = size >= self.k
            weights = machine.transfer(0.0 * size + self.n, size * 4.0, whole, False)
            return Rounds(1.0, compute, vector + weights, result)
        weights = machine.transfer(size, row, size > 0, False)
        if self.kernel == "l3a_wgrad":
            result = result + machine.transfer(size, row, size > 0, True)
        return Rounds(1.0, compute, vector + weights, result)
