"""Passes over channel planes and flat arrays: everything that is not a product."""

import dataclasses
from typing import Any

import numpy as np

from pulpsim.cost.dma import NOTHING, Flow
from pulpsim.cost.loop import Rounds, loop_cycles
from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import Cost, Place, Traffic, grid, is_set, outside, sizes, split
from pulpsim.kernels import find

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
            "each" takes every row for an item of its own and gives (w,), "windows" splits output
            pixels over the cores and gives (side, side, channels).
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
                steps.append(dataclasses.replace(self._round(machine, c, h), count=count))
                moved = moved + count * sum(_bytes(op, c, h) for op in moving)
        cycles, compute, busy = loop_cycles(machine, steps, self._round(machine, ct, ht))
        count = self.repeats * self.channels * -(-self.rows // ht)
        whole = [
            _far(op, self.repeats * _bytes(op, self.channels, self.rows), count) for op in moving
        ]
        out, external, stored = outside(machine, whole)
        # Nothing hides the first tile's arrival.
        firsts = [_far(op, _bytes(op, ct, ht), ct) for op in moving if not op.write]
        fill = outside(machine, firsts)[0]
        single = (ct >= self.channels) & (ht >= self.rows) & (self.repeats == 1)
        held = self._filled(ht, xp)
        need = sum((_bytes(op, ct, held) for op in moving), 0.0) * xp.where(single, 1.0, 2.0)
        need = need + sum((_bytes(op, ct, held) for op in self.operands if op.scratch), 0.0)
        return Cost(
            fill + xp.maximum(cycles, out),
            compute,
            busy,
            cycles * 0.0 + out,
            need,
            moved if machine.moves_tiles else moved * 0.0,
            cycles * 0.0 + external,
            cycles * 0.0 + stored,
            cycles * 0.0 + self.macs,
        )

    def _filled(self, h: Numbers, xp: Any) -> Numbers:
        """Rows that are computed: short tiles are filled up to what the kernels' loops need."""
        for call in self.calls:
            least = find(call.kernel).work.least
            if least and call.dims in ("window", "rows"):
                h = xp.maximum(h, -(-(least[0] - call.halo) // call.scale) * 1.0)
        return h

    def _round(self, machine: Machine, c: Numbers, h: Numbers) -> Rounds:
        rows = self._filled(h, machine.xp)
        compute = sum((_call(machine, call, c, rows) for call in self.calls), 0.0)
        compute = compute + (len(self.calls) - 1) * machine.barrier_cycles
        moves = [
            (op.write, self._transfer(machine, op, c, h)) for op in self.operands if not op.scratch
        ]
        fetch = sum((flow for write, flow in moves if not write), NOTHING)
        return Rounds(1.0, compute, fetch, sum((flow for write, flow in moves if write), NOTHING))

    def _transfer(self, machine: Machine, op: Operand, c: Numbers, h: Numbers) -> Flow:
        if is_set(op.per_channel_bytes):
            return machine.transfer(c, op.per_channel_bytes, c >= 0, op.write)
        rows = op.scale * h + op.halo
        row = op.row_elements * op.element_bytes
        if op.padded:
            return machine.transfer(c * rows, row + 0.0 * rows, c < 0, op.write)
        # Whole planes are one block; cut planes are one row of the transfer per channel.
        return machine.transfer(c, rows * row, (h >= self.rows) & (not op.apart), op.write)


def _far(op: Operand, size: Numbers, planes: Numbers) -> Traffic:
    """Bytes of an operand from or to outside: planes or parts of them lie apart."""
    return Traffic(op.place, size, 1.0 if is_set(op.per_channel_bytes) else planes)


def _bytes(op: Operand, c: Numbers, h: Numbers) -> Numbers:
    if is_set(op.per_channel_bytes):
        return c * op.per_channel_bytes
    return c * (op.scale * h + op.halo) * (op.row_elements * op.element_bytes)


def _call(machine: Machine, call: Call, c: Numbers, h: Numbers) -> Numbers:
    rows = call.scale * h + call.halo
    match call.dims:
        case "window" | "rows":
            narrowest = find(call.kernel).work.least[1]
            return machine.kernel(
                call.kernel, c, (rows, machine.xp.maximum(call.width * 1.0, narrowest))
            )
        case "pixels":
            return machine.kernel(call.kernel, c, (-(-rows * call.width // 4) * 4,))
        case "each":
            return machine.kernel(call.kernel, c * rows, (-(-call.width // 4) * 4,))
        case "vector":
            return machine.kernel(call.kernel, c, (call.width,))
        case "windows":
            side = call.scale + call.halo
            return machine.kernel(call.kernel, h * call.width, (side, side, -(-c // 4) * 4))
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
        in_place: What is written was read: both lie in the same buffers.
    """

    kernels: tuple[str, ...]
    elements: Numbers
    read_bytes: tuple[tuple[Place, Numbers], ...]
    write_bytes: tuple[tuple[Place, Numbers], ...]
    in_place: bool = False

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
        moves = self.read_bytes if self.in_place else self.read_bytes + self.write_bytes
        return tile * sum(size for _, size in moves)

    def cost(self, machine: Machine, tile: Numbers) -> Cost:
        """Cost of a tile size, a number or an array."""
        xp = machine.xp
        steps = [
            dataclasses.replace(self._round(machine, size), count=count)
            for size, count in split(self.elements, tile, xp)
        ]
        cycles, compute, busy = loop_cycles(machine, steps, self._round(machine, tile))
        moves = self.read_bytes + self.write_bytes
        traffic = [Traffic(place, size * self.elements) for place, size in moves]
        out, external, stored = outside(machine, traffic)
        firsts = [Traffic(place, size * tile) for place, size in self.read_bytes]
        fill = outside(machine, firsts)[0]
        each = sum(size for _, size in moves)
        in_l1, buffers = each, 2.0
        if self.in_place:
            in_l1, buffers = sum(size for _, size in self.read_bytes), 3.0
        zero = cycles * 0.0
        return Cost(
            fill + xp.maximum(cycles, out),
            compute,
            busy,
            zero + out,
            tile * in_l1 * xp.where(tile >= self.elements, 1.0, buffers),
            zero + (each * self.elements if machine.moves_tiles else 0.0),
            zero + external,
            zero + stored,
            zero,
        )

    def _round(self, machine: Machine, size: Numbers) -> Rounds:
        compute = sum((machine.kernel(name, size, ()) for name in self.kernels), 0.0 * size)
        fetch, write = self._move(machine, size, False), self._move(machine, size, True)
        return Rounds(1.0, compute, fetch, write)

    def _move(self, machine: Machine, size: Numbers, write: bool) -> Flow:
        moves = self.write_bytes if write else self.read_bytes
        sent = [
            machine.transfer(size / size, -(-size * each // 1), size > 0, write)
            for _, each in moves
        ]
        return sum(sent, NOTHING)
