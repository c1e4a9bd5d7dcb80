"""Passes that are matrix products: pointwise layers, the first convolution, their gradients."""

import dataclasses
from typing import Any, Literal

import numpy as np

from pulpsim.cost import dma
from pulpsim.cost.dma import NOTHING, Flow
from pulpsim.cost.loop import Rounds, loop_cycles
from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import Cost, Place, Traffic, grid, is_set, outside, sizes, split
from pulpsim.kernels import find

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Product:
    """C[n, m] = A[n, k] B[k, m] of one pass, tiled over n, k and m; C stays in L1 over k.

    Attributes:
        kernel: One of the matrix products; its items are rows n, or pixels m of an integer one.
        n: Rows of C.
        k: Terms of a sum.
        m: Columns of C.
        a_bytes: Per element of A.
        b_bytes: Per element of B, in the memory that it is read from.
        c_bytes: Per element of everything that is written per element of C.
        a_rows: Which of A's axes is the row axis in memory.
        b_rows: Likewise for B.
        c_rows: Likewise for C.
        c_row_elements: A row of C is cut into rows of so many elements (padded planes), 0: whole.
        a_place: Where A lives.
        b_place: Where B lives.
        c_place: Where C goes.
        accumulate: C is read first.
        extra_bytes: Per row n in L1, such as kappa and lambda.
        fused: Kernels that run over every finished tile of C, per channel or per element.
        columns: B is built in L1, by `c0_im2col` or from codes by `i6_im2row`.
        window: Of a product of codes with columns: rows of a window, bytes between two pixels.
    """

    kernel: str
    n: Numbers
    k: Numbers
    m: Numbers
    a_bytes: Numbers = 4.0
    b_bytes: Numbers = 4.0
    c_bytes: Numbers = 4.0
    a_rows: Literal["n", "k"] = "n"
    b_rows: Literal["k", "m"] = "k"
    c_rows: Literal["n", "m"] = "n"
    c_row_elements: Numbers = 0
    a_place: Place = "l2"
    b_place: Place = "l2"
    c_place: Place = "l2"
    accumulate: bool = False
    extra_bytes: Numbers = 0.0
    fused: tuple[str, ...] = ()
    columns: bool = False
    window: tuple[int, int] = (1, 1)

    @property
    def macs(self) -> Numbers:
        """Multiply-accumulates of the pass."""
        return self.n * self.k * self.m

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        return f"{self.kernel} on {self.n} x {self.k} x {self.m}"

    @property
    def _by_pixels(self) -> bool:
        """Whether the kernel is an integer one: columns over the cores, whole sums."""
        return find(self.kernel).work.items == "pixels"

    @property
    def _column_bytes(self) -> float:
        """Of an element of B as it stands in L1."""
        return 1.0 if self._by_pixels else 4.0

    def staged_bytes(self, l2_bytes: float) -> float:
        """The least L2 that serves this pass as well as `l2_bytes` do."""
        outside_operands = (
            (self.a_place, self.n * self.k * self.a_bytes),
            (self.b_place, self.k * self.m * self.b_bytes),
        )
        fitting = [size for place, size in outside_operands if place != "l2" and size <= l2_bytes]
        return float(max(fitting, default=0.0))

    def candidates(self, ratio: float = 1.0) -> tuple[np.ndarray, ...]:
        """Tiles (n, k, m, order) to try; order 0 keeps A over the inner loop, 1 keeps B."""
        n_unit, k_unit = (4, self.k) if self._by_pixels else (2, 4)
        return grid(
            sizes(self.n, n_unit, ratio),
            sizes(self.k, k_unit, ratio, least=16),
            sizes(self.m, 1 if self._by_pixels else 4, ratio),
            np.array([0.0, 1.0]),
        )

    def least_bytes(self, nt: Numbers, kt: Numbers, mt: Numbers, order: Numbers) -> Numbers:
        """L1 that a tile needs with one buffer an operand."""
        del order
        in_l1 = self._column_bytes if self.columns else self.b_bytes
        c_buffers = 1.5 if self.accumulate else 1.0  # three where others have two
        return nt * kt * self.a_bytes + kt * mt * in_l1 + nt * mt * self.c_bytes * c_buffers

    def cost(self, machine: Machine, nt: Numbers, kt: Numbers, mt: Numbers, order: Numbers) -> Cost:
        """Cost of a tile; arguments are numbers or arrays of one shape."""
        xp = machine.xp
        count_n, count_k, count_m = (
            -(-total // tile) for total, tile in ((self.n, nt), (self.k, kt), (self.m, mt))
        )
        whole_k = count_k <= 1
        # How often each operand is read in all.
        a_reads = xp.where(whole_k, xp.where(order < 1, 1.0, count_m), count_m)
        b_reads = xp.where(whole_k, xp.where(order < 1, count_n, 1.0), count_n)
        steps = self._steps(machine, nt, kt, mt, order, whole_k)
        edge = self._round(machine, nt, kt, mt, True)
        a, b = self._a(machine, nt, kt), self._b(machine, kt, mt)
        one, other = dma.either(order < 1, b, a, xp), dma.either(order < 1, a, b, xp)
        # The operand that the inner loop keeps comes with the first tile.
        kept = whole_k & (xp.where(order < 1, count_m, count_n) > 1)
        edge = dataclasses.replace(edge, fetch=edge.fetch + dma.either(kept, one, a + b, xp))
        before = other.times(xp.where(kept, 1.0, 0.0))
        cycles, compute, busy = loop_cycles(machine, steps, edge, before=before)
        a_all, b_all = self.n * self.k * self.a_bytes, self.k * self.m * self.b_bytes
        c_all = self.n * self.m * self.c_bytes * (2 if self.accumulate else 1)
        moved = a_all * a_reads + b_all * b_reads + c_all
        staged_a = xp.where(a_all <= machine.l2_bytes, 1.0, a_reads)
        staged_b = xp.where(b_all <= machine.l2_bytes, 1.0, b_reads)
        traffic = [
            self._far(machine, "a", a_all * staged_a, (nt, kt), staged_a <= 1),
            self._far(machine, "b", b_all * staged_b, (kt, mt), staged_b <= 1),
            self._far(machine, "c", c_all, (nt, mt)),
        ]
        out, external, stored = outside(machine, traffic)
        # Nothing hides the first tile's arrival.
        firsts = [
            self._far(machine, "a", nt * kt * self.a_bytes, (nt, kt)),
            self._far(machine, "b", kt * mt * self.b_bytes, (kt, mt)),
        ]
        fill = outside(machine, firsts)[0]
        return Cost(
            fill + xp.maximum(cycles, out),
            compute,
            busy,
            out,
            self._l1_bytes(nt, kt, mt, count_n, count_k, count_m, xp),
            moved if machine.moves_tiles else moved * 0.0,
            external,
            stored,
            cycles * 0.0 + self.macs,
        )

    def _steps(
        self, machine: Machine, nt: Numbers, kt: Numbers, mt: Numbers, order: Numbers, whole_k: Any
    ) -> list[Rounds]:
        xp = machine.xp
        found = []
        for n, times_n in split(self.n, nt, xp):
            for m, times_m in split(self.m, mt, xp):
                last_k = self.k - (-(-self.k // kt) - 1) * kt
                for k, times_k, is_last in (
                    (kt, -(-self.k // kt) - 1, False),
                    (last_k, 1.0, True),
                ):
                    count = times_n * times_m * times_k
                    plain = self._round(machine, n, k, m, is_last)
                    a, b = self._a(machine, n, k), self._b(machine, k, m)
                    one = plain.fetch + dma.either(order < 1, b, a, xp)
                    # Over the inner loop one operand stays: only its first step fetches both.
                    inner, times = (times_m, times_n), (times_n, times_m)
                    outer_count = xp.where(order < 1, times[0], times[1])
                    inner_count = xp.where(order < 1, inner[0], inner[1])
                    is_first = xp.where(order < 1, m == mt, n == nt)
                    fetch_both = xp.where(is_first, xp.minimum(inner_count, 1.0) * outer_count, 0.0)
                    fetch_both = xp.where(whole_k, fetch_both * times_k, count)
                    both = plain.fetch + a + b
                    found.append(Rounds(fetch_both, plain.compute, both, plain.write))
                    found.append(Rounds(count - fetch_both, plain.compute, one, plain.write))
        return found

    def _round(self, machine: Machine, n: Numbers, k: Numbers, m: Numbers, is_last: bool) -> Rounds:
        """A round without its operands: the last over k writes C, and reads it to add to it."""
        compute = self._compute(machine, n, k, m, is_last)
        write = self._c(machine, n, m, write=True) if is_last else NOTHING
        added = is_last and self.accumulate
        fetch = self._c(machine, n, m, write=False) if added else NOTHING
        return Rounds(1.0, compute, fetch, write)

    def _compute(
        self, machine: Machine, n: Numbers, k: Numbers, m: Numbers, is_last: bool
    ) -> Numbers:
        columns = -(-m // 4) * 4
        if self._by_pixels:
            rows = -(-n // 4) * 4
            cycles = machine.kernel(self.kernel, m, (-(-k // 4) * 4, rows))
            if self.columns:
                high, step = self.window
                dims = (high, k / (4 * high), step)
                cycles = cycles + machine.barrier_cycles + machine.kernel("i6_im2row", m, dims)
            return cycles
        cycles = machine.kernel(self.kernel, n, (k, columns))
        if self.columns:
            cycles = cycles + machine.barrier_cycles + machine.kernel("c0_im2col", m, (k,))
        for name in self.fused if is_last else ():
            per_channel = find(name).work.items == "channels"
            items, dims = (n, (columns,)) if per_channel else (n * columns, ())
            cycles = cycles + machine.barrier_cycles + machine.kernel(name, items, dims)
        return cycles

    def _a(self, machine: Machine, n: Numbers, k: Numbers) -> Flow:
        rows, row = (n, k) if self.a_rows == "n" else (k, n)
        whole = row >= (self.k if self.a_rows == "n" else self.n)
        return machine.transfer(rows, row * self.a_bytes, whole, write=False)

    def _b(self, machine: Machine, k: Numbers, m: Numbers) -> Flow:
        rows, row = (k, m) if self.b_rows == "k" else (m, k)
        whole = row >= (self.m if self.b_rows == "k" else self.k)
        return machine.transfer(rows, row * self.b_bytes, whole, write=False)

    def _c(self, machine: Machine, n: Numbers, m: Numbers, write: bool) -> Flow:
        rows, row = (n, m) if self.c_rows == "n" else (m, n)
        whole = row >= (self.m if self.c_rows == "n" else self.n)
        if is_set(self.c_row_elements):
            # The rows of padded planes never join; short tiles write part of a row.
            piece = machine.xp.minimum(row, self.c_row_elements * 1.0)
            rows, row, whole = rows * -(-row // piece), piece, machine.xp.asarray(False)
        return machine.transfer(rows, row * self.c_bytes, whole, write=write)

    def _far(
        self,
        machine: Machine,
        which: Literal["a", "b", "c"],
        size: Numbers,
        tile: tuple[Numbers, Numbers],
        once: Any = False,
    ) -> Traffic:
        """An operand's bytes from or to outside, in the rows of its tiles unless moved `once`."""
        xp = machine.xp
        places: dict[str, Place] = {"a": self.a_place, "b": self.b_place, "c": self.c_place}
        element, by_rows, whole = {
            "a": (self.a_bytes, self.a_rows == "n", (self.n, self.k)),
            "b": (self.b_bytes, self.b_rows == "k", (self.k, self.m)),
            "c": (self.c_bytes, self.c_rows == "n", (self.n, self.m)),
        }[which]
        row, of = (tile[1], whole[1]) if by_rows else (tile[0], whole[0])
        together = xp.where(row >= of, tile[0] * tile[1] * element, row * element)
        return Traffic(places[which], size, -(-size // xp.where(once, size, together)))

    def _l1_bytes(
        self,
        nt: Numbers,
        kt: Numbers,
        mt: Numbers,
        count_n: Numbers,
        count_k: Numbers,
        count_m: Numbers,
        xp: Any,
    ) -> Numbers:
        def buffers(tiles: Numbers) -> Numbers:
            return xp.where(tiles <= 1, 1.0, 2.0)

        in_l1 = self._column_bytes if self.columns else self.b_bytes
        a = nt * kt * self.a_bytes * buffers(count_n * count_k)
        b = kt * mt * in_l1 * buffers(count_k * count_m)
        c_buffers = buffers(count_n * count_m)
        if self.accumulate:  # in place: the tile before is written while the next is fetched
            c_buffers = xp.where(count_n * count_m <= 1, 1.0, 3.0)
        c = nt * mt * self.c_bytes * c_buffers
        return a + b + c + nt * self.extra_bytes
