"""A matrix product in two levels of blocks: one operand stays on chip, whichever moves least.

C[n, m] = A[n, k] B[k, m] with both operands off chip. Three orders of the blocks:

- "A stays": some rows of A stand whole while all of B and C pass by; A moves once.
- "B stays": some columns of B stand whole while all of A and C pass by; B moves once.
- "C stays": a block of C adds up in place while its rows of A and columns of B pass by; C moves
  once, and what becomes of it (an SGD step) is done where it stands.

A block that stays has one buffer and its arrival is not hidden; blocks that pass by have two, and a
step takes the longer of the cores' work and the RAM's. Block sizes are searched: all are ranked by
a closed form of what they move and compute, the best of each order are costed with their own L1
tiles, and the one with the fewest joules is taken.
"""

import dataclasses
import itertools
from typing import Any, Literal

import numpy as np

from pulpsim.cost import energy
from pulpsim.cost.block_loops import Moved, Sum
from pulpsim.cost.blocks import Blocked, Buffer, fits, parts, step_cost
from pulpsim.cost.machine import Machine
from pulpsim.cost.products import Product
from pulpsim.cost.search import Costs
from pulpsim.cost.sides import Side, arriving, outside
from pulpsim.cost.tiling import Cost, grid, sizes

Numbers = Any
ORDERS = ("A stays", "B stays", "C stays")
TRIED = 2  # best-ranked blocks of each order, of which
COSTED = 4  # are costed with their tiles
PIECE = 4_096  # elements of C that are updated at a time where it stands


@dataclasses.dataclass(frozen=True)
class BlockedProduct:
    """A product over all samples of a mini-batch.

    Attributes:
        kernel: The product's kernel.
        n: Rows of C.
        k: Terms of a sum.
        m: Columns of C.
        a: Operand A.
        b: Operand B.
        c: Result.
        layout: Row axes of A, B and C in memory.
        units: Blocks of (n, k, m) are multiples of these.
        fused: Kernels over every finished tile of C in L1.
        columns: B is unfolded in L1.
        whole_k: A block needs the whole sum, because its step does not know the order of k.
    """

    kernel: str
    n: int
    k: int
    m: int
    a: Side
    b: Side
    c: Side
    layout: tuple[Literal["n", "k"], Literal["k", "m"]] = ("n", "k")
    units: tuple[int, int, int] = (2, 4, 4)
    fused: tuple[str, ...] = ()
    columns: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.n * self.k * self.m

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        return f"{self.kernel} on {self.n} x {self.k} x {self.m}"

    def search(self, search: Costs, free: int | float) -> Blocked:
        """The blocks that take the fewest joules.

        Args:
            search: Costs of tiles on the chip.
            free: Bytes of on-chip memory.

        Raises:
            DoesNotFit: No block fits.
        """
        tried = [
            self.cut(search, order, *(int(size) for size in block))
            for order, block in self._promising(search.machine, free)
        ]
        platform = search.machine.platform
        return min(tried, key=lambda one: float(energy.joules(one.cost, platform)))

    def candidates(self, order: str) -> tuple[np.ndarray, ...]:
        """Blocks (n, k, m) of an order."""
        n, k, m = (
            sizes(total, unit, 1.15)
            for total, unit in zip((self.n, self.k, self.m), self.units, strict=True)
        )
        if order == "A stays":
            return grid(n, np.array([float(self.k)]), m)
        if order == "B stays":
            return grid(n, np.array([float(self.k)]), m)
        return grid(n[n * 32 >= self.n], k, m[m * 64 >= self.m])

    def reads(self, order: str, n: Numbers, m: Numbers) -> tuple[Numbers, Numbers]:
        """How often A and B arrive in all."""
        rows, columns = -(-self.n // n), -(-self.m // m)
        if order == "A stays":
            return rows * 0 + 1, rows
        if order == "B stays":
            return columns, columns * 0 + 1
        return columns, rows

    def external_bytes(self, order: str, n: Numbers, m: Numbers) -> Numbers:
        """Bytes from and to outside, exactly."""
        a, b = self.reads(order, n, m)
        moved = a * self.a.moved_bytes(self.n * self.k) + b * self.b.moved_bytes(self.k * self.m)
        return moved + self.c.moved_bytes(self.n * self.m)

    def buffers(self, order: str, n: Numbers, k: Numbers, m: Numbers) -> list[Buffer]:
        """What stands on chip; sizes may be arrays."""
        rows, terms, columns = -(-self.n // n), -(-self.k // k), -(-self.m // m)
        alone = np.minimum(rows * columns * terms, 2)
        a_copies = np.ones_like(alone) if order == "A stays" else alone
        b_copies = np.ones_like(alone) if order == "B stays" else alone
        found = [*arriving(self.a, n * k, a_copies), *arriving(self.b, k * m, b_copies)]
        c_block = n * m
        if order == "C stays" and self.c.in_place:
            piece = np.minimum(c_block, PIECE)
            streams = {one.name: one for one in (*self.c.reads, *self.c.writes)}
            found += [Buffer(f"{s.name}, piece", s.bytes_of(piece), 2) for s in streams.values()]
            return [*found, Buffer("C", 4.0 * c_block)]
        copies = np.ones_like(alone) if order == "C stays" else alone
        found += [Buffer(one.name, one.bytes_of(c_block), copies) for one in outside(self.c.reads)]
        plain = all(one.element_bytes == 4 for one in self.c.writes)
        found.append(Buffer("C", 4.0 * c_block, copies if plain else np.ones_like(alone)))
        if not plain:
            found += [
                Buffer(one.name, one.bytes_of(c_block), copies) for one in outside(self.c.writes)
            ]
        return found

    def _promising(
        self, machine: Machine, free: int | float
    ) -> list[tuple[str, tuple[float, float, float]]]:
        """The best-ranked blocks of each order that fits."""
        ranked, least = [], []
        for order in ORDERS:
            n, k, m = self.candidates(order)
            if self.c.in_place and order != "C stays":
                continue
            held = sum(one.size_bytes * one.copies for one in self.buffers(order, n, k, m))
            held = held + 0.0 * n
            least.append(held.min())
            kept = np.flatnonzero(held <= free)
            if not kept.size:
                continue
            n, k, m = n[kept], k[kept], m[kept]
            score = self._score(machine, order, n, k, m)
            best = np.argsort(score, kind="stable")[:TRIED]
            ranked += [(score[i], order, (n[i], k[i], m[i])) for i in best]
        if not ranked:
            fits(np.array(least), free, self.words)
        ranked.sort(key=lambda one: one[0])
        return [(order, block) for score, order, block in ranked[:COSTED]]

    def _score(
        self, machine: Machine, order: str, n: Numbers, k: Numbers, m: Numbers
    ) -> np.ndarray:
        """A closed form of the joules of a block: bytes, and cycles at a tenth over the FPUs' best.

        It ranks candidates and is not reported.
        """
        platform = machine.platform
        cluster = platform.cluster
        moved = self.external_bytes(order, n, m)
        steps = -(-self.n // n) * -(-self.k // k) * -(-self.m // m)
        units = min(cluster.fpus, cluster.cores) * (1.0 if machine.moves_tiles else 0.2)
        a, b = self.reads(order, n, m)
        prepared = a * (self.n * self.k) * (self.a.step is not None)
        prepared = prepared + b * (self.k * self.m) * (self.b.step is not None)
        # A tile's C is read and written for every block of k: 8 bytes an element of C.
        added = self.n * self.m * (-(-self.k // k)) * 8.0 / 7.0 * machine.moves_tiles
        worked = 1.1 * self.macs / units + 2.0 * prepared / units * 4 + 3000.0 * steps
        worked = np.maximum(worked, added + 0.0 * n)
        cycles = np.maximum(worked, moved / machine.external_bytes_per_cycle)
        watts = platform.power.active_watts / cluster.clock_hz
        return cycles * watts + moved * platform.external.joules_per_byte

    def cut(self, search: Costs, order: str, n: int, k: int, m: int) -> Blocked:
        """Cost of one order with blocks of one size."""
        total = _c_stays if order == "C stays" else _operand_stays
        cost = total(self, search, order, (n, k, m))
        tile = search(self.inner(n, k, m, order == "C stays" and k < self.k, True))[0]
        buffers = tuple(
            Buffer(one.what, float(one.size_bytes), int(one.copies))
            for one in self.buffers(order, *(np.float64(size) for size in (n, k, m)))
            if one.size_bytes
        )
        return Blocked(order, (n, k, m), tile, buffers, cost)

    def inner(self, n: int, k: int, m: int, accumulate: bool, last: bool) -> Product:
        """The product of one step, operands in L2."""
        return Product(
            self.kernel,
            n,
            k,
            m,
            b_bytes=4.0 * self.b.share,
            a_rows=self.layout[0],
            b_rows=self.layout[1],
            accumulate=accumulate,
            fused=self.fused if last else (),
            columns=self.columns,
        )

    def rows_of(self, which: str, n: int, k: int, m: int) -> list[Moved]:
        """Rows that an A, B or C block brings or takes from outside."""
        side, rows, row, whole = {
            "a": (self.a, *((n, k) if self.layout[0] == "n" else (k, n)), self._whole("a", n, k)),
            "b": (self.b, *((k, m) if self.layout[1] == "k" else (m, k)), self._whole("b", k, m)),
            "c": (self.c, n, m, m >= self.m),
        }[which]
        streams = (*outside(side.reads), *outside(side.writes))
        if whole:
            return [Moved(1, one.bytes_of(rows * row)) for one in streams]
        return [Moved(rows, one.bytes_of(row)) for one in streams]

    def _whole(self, which: str, first: int, second: int) -> bool:
        if which == "a":
            return second >= self.k if self.layout[0] == "n" else first >= self.n
        return second >= self.m if self.layout[1] == "k" else first >= self.k


def _operand_stays(
    work: BlockedProduct, search: Costs, order: str, block: tuple[int, int, int]
) -> Cost:
    """A or B stays: per block of it, all blocks of the other pass by."""
    machine, found, k = search.machine, Sum(), work.k
    stays, passes = ("a", "b") if order == "A stays" else ("b", "a")
    outer = parts(work.n, block[0]) if stays == "a" else parts(work.m, block[2])
    inner = parts(work.m, block[2]) if stays == "a" else parts(work.n, block[0])
    for size, times in outer:
        body, first, last = 0.0, 0.0, 0.0
        for other, count in inner:
            n, m = (size, other) if stays == "a" else (other, size)
            costs = [
                _prepare(work, search, passes, n, k, m),
                search(work.inner(n, k, m, False, True))[1],
                _prepare(work, search, "c", n, k, m),
            ]
            busy = found.work(times * count, costs)
            brought = found.move(times * count, machine, work.rows_of(passes, n, k, m))
            taken = found.move(times * count, machine, work.rows_of("c", n, k, m))
            body += count * max(busy, brought + taken)
            first, last = max(first, brought), max(last, taken)
        n, m = (size, block[2]) if stays == "a" else (block[0], size)
        alone = found.move(times, machine, work.rows_of(stays, n, k, m))
        alone += found.work(times, [_prepare(work, search, stays, n, k, m)])
        found.cycles += times * (alone + first + body + last)
    return found.cost()


def _c_stays(work: BlockedProduct, search: Costs, order: str, block: tuple[int, int, int]) -> Cost:
    """C stays: per block of it, all blocks of k pass by; then it leaves or is updated."""
    del order
    machine, found = search.machine, Sum()
    split = parts(work.k, block[1])
    terms = [(size, count - (i == len(split) - 1)) for i, (size, count) in enumerate(split)]
    terms = [part for part in terms if part[1]]
    final = split[-1][0]
    grids = itertools.product(parts(work.n, block[0]), parts(work.m, block[2]))
    for (n, times_n), (m, times_m) in grids:
        times = times_n * times_m
        body, first = 0.0, 0.0
        for k, count, last in (*((k, count, False) for k, count in terms), (final, 1, True)):
            costs = [
                _prepare(work, search, "a", n, k, m),
                _prepare(work, search, "b", n, k, m),
                search(work.inner(n, k, m, block[1] < work.k, last))[1],
            ]
            busy = found.work(times * count, costs)
            moves = work.rows_of("a", n, k, m) + work.rows_of("b", n, k, m)
            moved = found.move(times * count, machine, moves)
            body += count * max(busy, moved)
            first = max(first, moved)
        ended = found.work(times, [_prepare(work, search, "c", n, block[1], m)])
        taken = found.move(times, machine, work.rows_of("c", n, block[1], m))
        finish = max(ended, taken) if work.c.in_place else ended + taken
        found.cycles += times * (first + body + finish)
    return found.cost()


def _prepare(work: BlockedProduct, search: Costs, which: str, n: int, k: int, m: int) -> Cost:
    """The step of a block of A, B or C."""
    side = {"a": work.a, "b": work.b, "c": work.c}[which]
    rows, columns = {
        "a": (n, k),
        "b": (k, m) if work.layout[1] == "k" else (m, k),
        "c": (n, m),
    }[which]
    return step_cost(search, side.step, rows, columns * side.share)
