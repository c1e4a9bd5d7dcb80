"""Passes over channel planes, vectors and flat arrays: everything that is not a matrix product."""

import dataclasses
from typing import Any

import numpy as np

from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import Cost, Place, Rounds, grid, is_set, outside, pipeline, sizes, split

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Operand:
    """A tensor [channels, rows, row_elements] that a pass over planes reads or writes.

    Attributes:
        row_elements: Elements of a row.
        element_bytes: Bytes of an element.
        scale: A tile of h output rows holds scale * h + halo rows of this tensor.
        halo: See `scale`.
        place: Where it lives.
        write: Written, not read.
        per_channel_bytes: Instead of rows, so many bytes a channel (weights, statistics).
        padded: Rows are strided in L2, because they lie inside padded planes.
        apart: Whole planes are strided in L2, because a channel's samples lie side by side.
        scratch: In L1 only; nothing is moved.
    """

    row_elements: Numbers = 0
    element_bytes: Numbers = 4.0
    scale: Numbers = 1
    halo: Numbers = 0
    place: Place = "l2"
    write: bool = False
    per_channel_bytes: Numbers = 0.0
    padded: bool = False
    apart: bool = False
    scratch: bool = False


@dataclasses.dataclass(frozen=True)
class Call:
    """A kernel over a tile of planes.

    Attributes:
        kernel: Name.
        dims: "window" gives (hin, win), "rows" (h, w), "pixels" (h * w,), "elements" nothing,
            "vector" (w,), "lines" splits output rows over the cores and gives (channels, w),
            "each" takes every row for an item of its own and gives (w,).
        width: Padded input width, or output width, as the kernel wants it.
        scale: hin = scale * h + halo.
        halo: See `scale`.
    """

    kernel: str
    dims: str
    width: Numbers
    scale: Numbers = 1
    halo: Numbers = 0


@dataclasses.dataclass(frozen=True)
class Planes:
    """A pass over `channels` planes of `rows` output rows, tiled over both.

    Attributes:
        channels: Planes.
        rows: Output rows of a plane.
        calls: Kernels that run on every tile.
        operands: What moves.
        repeats: The whole pass so many times (samples).
        macs: Multiply-accumulates of all repeats, or elements where it has none.
        split_rows: False where a kernel needs whole planes.
    """

    channels: Numbers
    rows: Numbers
    calls: tuple[Call, ...]
    operands: tuple[Operand, ...]
    repeats: Numbers = 1
    macs: Numbers = 0
    split_rows: bool = True

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        kernels = " and ".join(call.kernel for call in self.calls)
        return f"{kernels} on {self.channels} channels of {self.rows} rows"

    def candidates(self, ratio: float = 1.0) -> tuple[np.ndarray, ...]:
        """Tiles (channels, rows) to try."""
        rows = sizes(self.rows, 1, ratio) if self.split_rows else np.array([float(self.rows)])
        channels = [call for call in self.calls if call.dims == "lines"]
        return grid(
            np.array([float(self.channels)]) if channels else sizes(self.channels, 1, ratio), rows
        )

    def least_bytes(self, ct: Numbers, ht: Numbers) -> Numbers:
        """L1 that a tile needs with one buffer an operand."""
        return sum((_bytes(op, ct, ht) for op in self.operands), 0.0 * ct)

    def cost(self, machine: Machine, ct: Numbers, ht: Numbers) -> Cost:
        """Cost of a tile; arguments are numbers or arrays of one shape."""
        xp = machine.xp
        moving = [op for op in self.operands if not op.scratch]
        steps, moved = [], 0.0
        for c, times_c in split(self.channels, ct, xp):
            for h, times_h in split(self.rows, ht, xp):
                count = times_c * times_h * self.repeats
                transfers = sum((self._transfer(machine, op, c, h) for op in moving), 0.0)
                busy = machine.programming(float(len(moving))) + transfers
                compute = sum((_call(machine, call, c, h) for call in self.calls), 0.0)
                steps.append(Rounds(count, compute, busy))
                moved = moved + count * sum(_bytes(op, c, h) for op in moving)
        reads = [op for op in moving if not op.write]
        writes = [op for op in moving if op.write]
        first = machine.programming(float(len(reads))) + sum(
            (self._transfer(machine, op, ct, ht) for op in reads), 0.0
        )
        last = sum((self._transfer(machine, op, ct, ht) for op in writes), 0.0)
        cycles, compute, busy = pipeline(steps, first, last, xp)
        whole: list[tuple[Place, Numbers]] = [
            (op.place, self.repeats * _bytes(op, self.channels, self.rows)) for op in moving
        ]
        out, external, stored = outside(machine, whole)
        single = (ct >= self.channels) & (ht >= self.rows) & (self.repeats == 1)
        need = sum((_bytes(op, ct, ht) for op in moving), 0.0) * xp.where(single, 1.0, 2.0)
        need = need + sum((_bytes(op, ct, ht) for op in self.operands if op.scratch), 0.0)
        return Cost(
            xp.maximum(cycles, out),
            compute,
            busy,
            cycles * 0.0 + out,
            need,
            moved if machine.dma is not None else moved * 0.0,
            cycles * 0.0 + external,
            cycles * 0.0 + stored,
            cycles * 0.0 + self.macs,
        )

    def _transfer(self, machine: Machine, op: Operand, c: Numbers, h: Numbers) -> Numbers:
        if is_set(op.per_channel_bytes):
            return machine.transfer(c, op.per_channel_bytes, c >= 0, op.write)
        rows = op.scale * h + op.halo
        row = op.row_elements * op.element_bytes
        if op.padded:
            return machine.transfer(c * rows, row + 0.0 * rows, c < 0, op.write)
        # Whole planes are one block; cut planes are one row of the transfer per channel.
        return machine.transfer(c, rows * row, (h >= self.rows) & (not op.apart), op.write)


def _bytes(op: Operand, c: Numbers, h: Numbers) -> Numbers:
    if is_set(op.per_channel_bytes):
        return c * op.per_channel_bytes
    return c * (op.scale * h + op.halo) * (op.row_elements * op.element_bytes)


def _call(machine: Machine, call: Call, c: Numbers, h: Numbers) -> Numbers:
    rows = call.scale * h + call.halo
    match call.dims:
        case "window" | "rows":
            return machine.kernel(call.kernel, c, (rows, call.width))
        case "pixels":
            return machine.kernel(call.kernel, c, (-(-rows * call.width // 4) * 4,))
        case "each":
            return machine.kernel(call.kernel, c * rows, (-(-call.width // 4) * 4,))
        case "vector":
            return machine.kernel(call.kernel, c, (call.width,))
        case "lines":
            return machine.kernel(call.kernel, rows, (-(-c // 4) * 4, call.width))
        case _:
            return machine.kernel(call.kernel, c * rows * call.width, ())


@dataclasses.dataclass(frozen=True)
class Flat:
    """Kernels over a flat array, so many elements a tile.

    Attributes:
        kernels: Names; none where data is only moved.
        elements: In all.
        read_bytes: Per element, by place.
        write_bytes: Likewise.
    """

    kernels: tuple[str, ...]
    elements: Numbers
    read_bytes: tuple[tuple[Place, Numbers], ...]
    write_bytes: tuple[tuple[Place, Numbers], ...]

    @property
    def macs(self) -> Numbers:
        """A pass over elements has no MACs."""
        return 0

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        return f"{' and '.join(self.kernels) or 'a copy'} of {self.elements} elements"

    def candidates(self, ratio: float = 1.0) -> tuple[np.ndarray, ...]:
        """Tiles (elements,) to try: four sizes an octave, and everything at once."""
        octaves = 8.0 * 2.0 ** np.arange(0, 15)
        found = np.unique(np.outer(octaves, [1.0, 1.25, 1.5, 1.75]) // 8 * 8)
        return (np.append(found[found < self.elements], float(self.elements)),)

    def least_bytes(self, tile: Numbers) -> Numbers:
        """L1 that a tile needs with one buffer an operand."""
        return tile * sum(size for _, size in self.read_bytes + self.write_bytes)

    def cost(self, machine: Machine, tile: Numbers) -> Cost:
        """Cost of a tile size, a number or an array."""
        xp = machine.xp
        steps = []
        for size, count in split(self.elements, tile, xp):
            busy = machine.programming(float(len(self.read_bytes) + len(self.write_bytes)))
            busy = busy + self._move(machine, size, False) + self._move(machine, size, True)
            compute = sum((machine.kernel(name, size, ()) for name in self.kernels), 0.0 * size)
            steps.append(Rounds(count, compute, busy))
        first, last = self._move(machine, tile, False), self._move(machine, tile, True)
        cycles, compute, busy = pipeline(steps, first, last, xp)
        moves = self.read_bytes + self.write_bytes
        traffic: list[tuple[Place, Numbers]] = [
            (place, size * self.elements) for place, size in moves
        ]
        out, external, stored = outside(machine, traffic)
        each = sum(size for _, size in moves)
        zero = cycles * 0.0
        return Cost(
            xp.maximum(cycles, out),
            compute,
            busy,
            zero + out,
            tile * each * xp.where(tile >= self.elements, 1.0, 2.0),
            zero + (each * self.elements if machine.dma is not None else 0.0),
            zero + external,
            zero + stored,
            zero,
        )

    def _move(self, machine: Machine, size: Numbers, write: bool) -> Numbers:
        moves = self.write_bytes if write else self.read_bytes
        return sum(
            (
                machine.transfer(size / size, -(-size * each // 1), size > 0, write)
                for _, each in moves
            ),
            0.0 * size,
        )


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
        columns = self.kernel == "l2_igrad"
        other = self.n if columns else self.k
        steps = []
        for size, count in split(self._tiled, tile, xp):
            items = -(-size // 4) * 4 if columns else size
            call = machine.kernel(self.kernel, items, (other * 1.0,))
            vectors = machine.transfer(size / size, size * 0.0 + 4.0 * self.k, size > 0, False)
            vectors = vectors + machine.transfer(size / size, size * 4.0, size > 0, True)
            weights = self._weights(machine, size)
            steps.append(Rounds(count, call * self.samples, weights + vectors * self.samples))
        first = self._weights(machine, tile)
        cycles, compute, busy = pipeline(steps, first, first * 0.0, xp)
        both = 2.0 if self.kernel == "l3a_wgrad" else 1.0
        matrix = 4.0 * self.n * self.k * both
        out, external, stored = outside(machine, [(self.place, matrix)])
        zero = cycles * 0.0
        vectors = 4.0 * (self.n + self.k) * self.samples
        need = tile * other * 4.0 * xp.where(tile >= self._tiled, 1.0, 2.0)
        return Cost(
            xp.maximum(cycles, out),
            compute,
            busy,
            zero + out,
            need + 8.0 * (self.n + self.k),
            zero + (matrix + vectors if machine.dma is not None else 0.0),
            zero + external,
            zero + stored,
            zero + self.macs,
        )

    def _weights(self, machine: Machine, size: Numbers) -> Numbers:
        if self.kernel == "l2_igrad":
            whole = size >= self.k
            return machine.transfer(0.0 * size + self.n, size * 4.0, whole, False)
        read = machine.transfer(size, size * 0.0 + 4.0 * self.k, size > 0, False)
        if self.kernel == "l3a_wgrad":
            read = read + machine.transfer(size, size * 0.0 + 4.0 * self.k, size > 0, True)
        return read + machine.programming(4.0)
