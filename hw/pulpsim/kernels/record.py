"""What is known of a kernel, in one value: program, shapes, arguments, closed form, reference tile.

A closed form says what one core spends on its share of a tile without contention: instructions,
taken branches, jumps and the other fixed cycles (restoring `ra` before the return, misaligned
words, load-use stalls). It is read off the loops of the program and holds exactly against the RTL's
one-core rows; `pulpsim.cluster` issues the same programs instruction by instruction and tests
compare the two.

A share is `n` items (rows, channels, pixels, elements) of a tile; the other sizes are whole
numbers, given as numbers or as arrays of floats (NumPy or JAX), so one form serves a single tile,
an exhaustive search and a traced sweep.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulpsim.kernels.shape import CORES, START, STOP, Argument, Buffer, Scalar, Shape, Tile

Numbers = Any
RESTORES_RA = 2  # the return behind a reload of ra costs two cycles that no counter shows
LEAF = 1  # jump counter of a leaf kernel's entry


@dataclasses.dataclass(frozen=True)
class Spent:
    """Of one core: instructions, taken branches, jumps, and other cycles that are not stalls."""

    instr: Numbers
    taken: Numbers = 0
    jumps: Numbers = 0
    other: Numbers = 0

    @property
    def cycles(self) -> Numbers:
        """Cycles without contention for banks and FPUs."""
        return self.instr + 2 * self.taken + self.jumps + self.other


@dataclasses.dataclass(frozen=True)
class Mix:
    """An innermost loop on a Cortex-M4F; `pulpsim.cost.cortex` turns it into cycles.

    Attributes:
        work: MACs or elements of an iteration.
        pulp_instructions: Instructions of the same iteration on PULP.
        loads: Words of each load group (one VLDM, or integer loads behind each other).
        stores: Likewise.
        fma: Fused multiply-adds.
        fp: Other floating-point instructions.
        alu: Integer instructions, without the loop's own subtraction.
        loops: Loop ends; below 1 where the loop is unrolled.
    """

    work: int
    pulp_instructions: int
    loads: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()
    fma: int = 0
    fp: int = 0
    alu: int = 0
    loops: float = 1.0


def product(*sizes: Numbers) -> Numbers:
    """The work of most kernels: all sizes multiplied."""
    total: Numbers = 1
    for size in sizes:
        total = total * size
    return total


@dataclasses.dataclass(frozen=True)
class Work:
    """What a tile holds and how cores split it.

    Attributes:
        items: Name of the size that is split over the cores.
        dims: Names of the other sizes, in the order of the closed form.
        amount: (items, *dims) -> MACs, or elements, of the whole tile.
        granularity: A share is a multiple of this.
        cores: Most cores that may take part.
        least: Smallest of each of `dims`, where 1 is too small: a hardware loop with count 0 runs
            its body once and writes where it must not. Shorter tiles are filled up to this.
    """

    items: str
    dims: tuple[str, ...] = ()
    amount: Callable[..., Numbers] = product
    granularity: int = 1
    cores: int = CORES
    least: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """What a core spends.

    Attributes:
        spent: (n, *dims) -> Spent, for n items in a core's share.
        mix: The same innermost loop on a Cortex-M4F.
        competent: The loop that a Cortex-M4F's own programmer writes, where a rule does not do.
        around: Likewise of the program whose instructions around the innermost loop a Cortex-M4F
            takes over, if not this one.
    """

    spent: Callable[..., Spent]
    mix: Mix
    competent: Mix | None = None
    around: Callable[..., Spent] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel.

    Attributes:
        name: Of its entry in the program and of its rows in the RTL table.
        program: The `.s` file.
        shape: How its tiles are written.
        arguments: Its argument words; buffers lie in memory in this order.
        work: What a tile holds.
        form: Closed form; None for programs that are simulated but not costed.
        reference: Shape of a tile about as large as a tiler picks, for its stall rate; None where
            no second core runs.
        measured: Whether RTL rows exist; else it is a design in the same style.
    """

    name: str
    program: Path
    shape: Shape
    arguments: tuple[Argument, ...]
    work: Work
    form: ClosedForm | None = None
    reference: str | None = None
    measured: bool = True

    def __post_init__(self) -> None:
        words = [argument.word for argument in self.arguments]
        names = [argument.name for argument in self.arguments]
        if len({*words, START, STOP}) < len(words) + 2 or len(set(names)) < len(names):
            raise ValueError(
                f"arguments of {self.name} need names and words of their own; words {START} and "
                f"{STOP} hold the core's share"
            )

    def tile(self, text: str) -> Tile:
        """The tile of a shape.

        Raises:
            ValueError: The kernel cannot run this shape.
        """
        sizes, work = self.shape.read(self.name, text), self.work
        items = getattr(sizes, work.items)
        buffers = [one for one in self.arguments if isinstance(one, Buffer)]
        return Tile(
            items,
            work.granularity,
            int(work.amount(items, *(getattr(sizes, name) for name in work.dims))),
            sizes,
            {one.name: int(one.size_bytes(sizes)) for one in buffers},
            {one.name: one.bits(sizes) for one in self.arguments if isinstance(one, Scalar)},
            {one.name: one.word for one in self.arguments},
            {one.name: one.per_core_bytes for one in buffers if one.per_core_bytes},
            work.cores,
        )

    def arguments_of(self, text: str) -> tuple[int, tuple[int, ...]]:
        """(items, dims) of a shape, as the closed form takes them."""
        sizes = self.shape.read(self.name, text)
        dims = tuple(getattr(sizes, name) for name in self.work.dims)
        return getattr(sizes, self.work.items), dims

    def tile_spent(self, items: Numbers, dims: tuple[Numbers, ...], cores: Numbers) -> Spent:
        """What the core with the largest share of a tile spends, without contention.

        Args:
            items: What the tile has to split: rows, channels, pixels, elements.
            dims: The other sizes, in the order of `Work.dims`.
            cores: Workers; a kernel of one core runs on one whatever is given.

        Raises:
            ValueError: The kernel has no closed form.
        """
        cores = 1 if self.work.cores == 1 else cores
        return self.closed_form.spent(largest_share(items, cores, self.work.granularity), *dims)

    @property
    def closed_form(self) -> ClosedForm:
        """The closed form.

        Raises:
            ValueError: The kernel has none.
        """
        if self.form is None:
            raise ValueError(f"{self.name} has no closed form: it can be simulated, not costed")
        return self.form


def largest_share(items: Numbers, cores: Numbers, granularity: int) -> Numbers:
    """Items of the first core, which has the largest share."""
    per_core = -(-items // cores)
    return -(-per_core // granularity) * granularity


def some(count: Numbers) -> Numbers:
    """1 where a whole number is positive, else 0."""
    return 1 - 1 // (1 + count)
