"""The shape of a kernel's tile: a text such as `32x64x64` or `C16_10x10`, and its arguments.

Texts are those of the RTL table. A `Shape` reads one into named sizes and refuses what the loops of
its kernel cannot run; `Buffer` and `Scalar` name the argument words that the program reads.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np

Sizes = SimpleNamespace  # named sizes of one tile: sizes.rows, sizes.hin
CORES = 9
START, STOP = 6, 7  # argument words with a core's share; no argument of a kernel's own
PERIPHERALS = 0x10200000  # registers of DMA and event unit, behind a port of their own


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a kernel's loops need of its sizes.

    Attributes:
        holds: Whether some sizes are fine.
        text: The rule in words, behind "needs".
    """

    holds: Callable[[Sizes], bool]
    text: str


@dataclasses.dataclass(frozen=True)
class Shape:
    """How the shapes of a kernel are written.

    Attributes:
        form: The text with a name for every number, such as `{rows}x{k}x{m}`.
        like: An example for messages.
        rules: What the loops need.
        derived: Further sizes, from those of the text.
    """

    form: str
    like: str
    rules: tuple[Rule, ...] = ()
    derived: Mapping[str, Callable[[Sizes], int]] = dataclasses.field(default_factory=dict)

    def read(self, kernel: str, text: str) -> Sizes:
        """Named sizes of a text.

        Raises:
            ValueError: Not a shape of this kernel, or its loops cannot run it.
        """
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>\\d+)", self.form), text)
        if not found:
            raise ValueError(f"{kernel} takes a shape like {self.like}, not {text!r}")
        sizes = Sizes(**{name: int(digits) for name, digits in found.groupdict().items()})
        if min(vars(sizes).values(), default=1) < 1:
            raise ValueError(f"sizes of {kernel} must be at least 1, not {text!r}")
        for name, size in self.derived.items():
            setattr(sizes, name, size(sizes))
        for rule in self.rules:
            if not rule.holds(sizes):
                raise ValueError(f"{kernel} needs {rule.text}; the shape {text!r} breaks this")
        return sizes


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An argument word that points to memory.

    Attributes:
        name: What it is called.
        word: Its place among the arguments.
        size_bytes: Bytes for some sizes.
        per_core_bytes: Between the buffers of two cores, for private ones.
    """

    name: str
    word: int
    size_bytes: Callable[[Sizes], int | float]
    per_core_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Scalar:
    """An argument word that is a value.

    Attributes:
        name: What it is called.
        word: Its place among the arguments.
        value: An int, a float (passed as float32), or from the sizes; None: the size so named.
    """

    name: str
    word: int
    value: int | float | Callable[[Sizes], int] | None = None

    def bits(self, sizes: Sizes) -> int:
        """The word."""
        value = self.value
        if value is None:
            return getattr(sizes, self.name)
        if isinstance(value, float):
            return int(np.float32(value).view(np.uint32))
        return int(value(sizes)) if callable(value) else value


Argument = Buffer | Scalar


@dataclasses.dataclass(frozen=True)
class Tile:
    """One tile as its kernel sees it.

    Attributes:
        items: What is split over the cores.
        granularity: A share is a multiple of this.
        macs: Multiply-accumulates, or elements, of the tile.
        sizes: As read from its shape.
        buffers: Bytes by name, in the order in memory.
        scalars: Values by name.
        words: Argument word by name.
        per_core: Bytes between the buffers of two cores, by name, for private buffers.
        cores: Most cores that may take part.
    """

    items: int
    granularity: int
    macs: int
    sizes: Sizes
    buffers: Mapping[str, int]
    scalars: Mapping[str, int]
    words: Mapping[str, int]
    per_core: Mapping[str, int]
    cores: int
