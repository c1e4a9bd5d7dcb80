"""An operand of a blocked product: how it is stored, how it becomes FP32, what it takes on chip."""

import dataclasses
from typing import Any

from pulpsim.cost.blocks import Buffer, Step, Stream

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Side:
    """An operand: what is stored of it, how it becomes FP32, what is stored in its place.

    Attributes:
        reads: Streams from outside, per element of the operand.
        step: Runs over a block when it has arrived (of C: before it leaves).
        writes: Streams to outside; of C only.
        in_place: C is updated piece by piece where it stands and never leaves (weight gradients).
        share: FP32 elements in L2 per element of the operand, below 1 for unfolded columns.
    """

    reads: tuple[Stream, ...] = ()
    step: Step | None = None
    writes: tuple[Stream, ...] = ()
    in_place: bool = False
    share: int | float = 1.0

    def moved_bytes(self, elements: Numbers) -> Numbers:
        """Bytes from and to outside behind so many elements."""
        streams = [one for one in (*self.reads, *self.writes) if not one.resident]
        return sum((one.bytes_of(elements) for one in streams), 0.0 * elements)

    def prepared(self) -> bool:
        """Whether its FP32 block is another buffer than what arrived."""
        first = self.reads[0]
        plain = first.element_bytes == 4 and first.share == self.share and not first.resident
        return self.step is not None and not plain


def outside(streams: tuple[Stream, ...]) -> list[Stream]:
    """Of some streams, those that come from or go outside."""
    return [one for one in streams if not one.resident]


def arriving(side: Side, elements: Numbers, copies: Numbers) -> list[Buffer]:
    """What a block of an operand takes on chip: as it arrives, and as FP32 if that is another."""
    found = [Buffer(one.name, one.bytes_of(elements), copies) for one in outside(side.reads)]
    if side.prepared():
        found.append(Buffer(f"{side.reads[0].name}, FP32", 4.0 * side.share * elements))
    return found
