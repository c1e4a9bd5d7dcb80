"""A pass over planes in blocks of channels and samples: depthwise layers, pooling.

All that a block needs is brought once, several kernels run over it where it stands, and what leaves
is taken once, so every tensor moves exactly once. A map is [channels, samples, rows, columns]. The
channels of a block are finished, over all samples, before the next begin; so sums over samples and
the gradients of taps stay on chip.
"""

import dataclasses

import numpy as np

from pulpsim.cost import energy
from pulpsim.cost.block_loops import Moved, Sum
from pulpsim.cost.blocks import (
    Blocked,
    Buffer,
    Step,
    Stream,
    fits,
    parts,
)
from pulpsim.cost.planes import Planes
from pulpsim.cost.search import Costs
from pulpsim.cost.tiling import Cost, sizes

TRIED = 4


@dataclasses.dataclass(frozen=True)
class Stage:
    """Work on a block: a step over so many elements of every plane, or windows over its planes.

    Attributes:
        step: Runs over `elements` of every plane.
        elements: Of a plane.
        windows: A pass over one channel's plane of one sample, for kernels that need whole windows.
    """

    step: Step | None = None
    elements: int = 0
    windows: Planes | None = None

    def on(self, channels: int, samples: int) -> Planes:
        """The pass over a block."""
        if self.step is not None:
            return self.step.planes(channels, samples * self.elements)
        assert self.windows is not None
        macs = self.windows.macs * channels * samples
        return dataclasses.replace(self.windows, channels=channels, repeats=samples, macs=macs)


@dataclasses.dataclass(frozen=True)
class BlockedPlanes:
    """A pass over the planes of all channels and samples.

    Attributes:
        channels: Planes of a sample.
        samples: Of the mini-batch.
        reads: Brought from outside; `share` is elements of a plane.
        writes: Taken outside.
        held: On-chip tensors that are made and used inside a block, elements of a plane each.
        stages: What runs on a block, in order.
        ended: Runs once per block of channels, over so many elements of each: SGD on the taps.
        ended_elements: See `ended`.
        ended_moves: Brought and taken once per block of channels: taps, their momentum.
    """

    channels: int
    samples: int
    reads: tuple[Stream, ...]
    writes: tuple[Stream, ...]
    held: tuple[tuple[str, int | float], ...]
    stages: tuple[Stage, ...]
    ended: Step | None = None
    ended_elements: int = 0
    ended_moves: tuple[Stream, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        each = sum(stage.windows.macs for stage in self.stages if stage.windows is not None)
        return each * self.channels * self.samples

    @property
    def words(self) -> str:
        """The pass in words, for messages."""
        return f"{' and '.join(self.kernels)} on {self.channels} channels of {self.samples} samples"

    @property
    def kernels(self) -> tuple[str, ...]:
        """What the pass is about: the windows' kernels, or the last of a step without any."""
        windows = [one.windows for one in self.stages if one.windows is not None]
        if windows:
            return tuple(call.kernel for work in windows for call in work.calls)
        return (self.stages[-1].on(1, 1).calls[-1].kernel,)

    def external_bytes(self) -> int | float:
        """Bytes from and to outside, exactly."""
        moved = sum(one.bytes_of(1) for one in (*self.reads, *self.writes) if not one.resident)
        ended = sum(one.bytes_of(self.ended_elements) for one in self.ended_moves)
        return self.channels * (moved * self.samples + ended)

    def buffers(self, channels: int, samples: int, copies: int = 2) -> list[Buffer]:
        """What stands on chip."""
        if channels >= self.channels and samples >= self.samples:
            copies = 1
        planes = channels * samples
        found = [
            Buffer(one.name, one.bytes_of(planes), copies)
            for one in (*self.reads, *self.writes)
            if not one.resident
        ]
        found += [Buffer(name, 4.0 * elements * planes) for name, elements in self.held]
        ended = self.ended_elements * channels
        if self.ended is not None:
            found.append(Buffer("gradient", 4.0 * ended))
        return found + [Buffer(one.name, one.bytes_of(ended)) for one in self.ended_moves]

    def search(self, search: Costs, free: int | float) -> Blocked:
        """The blocks that take the fewest joules.

        Args:
            search: Costs of tiles on the chip.
            free: Bytes of on-chip memory.

        Raises:
            DoesNotFit: Not even one plane of one sample fits.
        """
        platform = search.machine.platform
        tried = [self.cut(search, *block) for block in self._promising(search, free)]
        return min(tried, key=lambda one: float(energy.joules(one.cost, platform)))

    def _promising(self, search: Costs, free: int | float) -> list[tuple[int, int, int]]:
        """Large blocks (channels, samples, copies): most samples first, then most channels."""
        samples = [int(size) for size in sizes(self.samples, 1, 2.0)[::-1]]
        cores = max(1, int(search.machine.cores))
        found = []
        for copies in (2, 1):
            for count in samples:
                fitting = [
                    int(size)
                    for size in sizes(self.channels, 1, 1.1)
                    if _held(self, int(size), count, copies) <= free
                ]
                whole = [size for size in fitting if size % cores == 0 or size == self.channels]
                if fitting:
                    found.append(((whole or fitting)[-1], count, copies))
                if len(found) == TRIED:
                    return found
            if found:
                return found
        fits(np.array([_held(self, 1, 1, 1)]), free, self.words)
        return found

    def cut(self, search: Costs, channels: int, samples: int, copies: int = 2) -> Blocked:
        """Cost with blocks of one size."""
        cost = self._cost(search, channels, samples, copies)
        main = next((s for s in self.stages if s.windows is not None), self.stages[0])
        tile = search(main.on(channels, samples))[0]
        buffers = tuple(self.buffers(channels, samples, copies))
        return Blocked("all pass once", (channels, samples), tile, buffers, cost)

    def _cost(self, search: Costs, channels: int, samples: int, copies: int) -> Cost:
        machine, found = search.machine, Sum()
        for c, times_c in parts(self.channels, channels):
            body, first, last = 0.0, 0.0, 0.0
            for s, times_s in parts(self.samples, samples):
                costs = [search(stage.on(c, s))[1] for stage in self.stages]
                busy = found.work(times_c * times_s, costs)
                brought = found.move(times_c * times_s, machine, _rows(self, self.reads, c, s))
                taken = found.move(times_c * times_s, machine, _rows(self, self.writes, c, s))
                both = brought + taken
                body += times_s * (max(busy, both) if copies == 2 else busy + both)
                first, last = max(first, brought), max(last, taken)
            if self.ended is not None:
                step = search(self.ended.planes(c, self.ended_elements))[1]
                body += found.work(times_c, [step])
            moves = [Moved(1, one.bytes_of(c * self.ended_elements)) for one in self.ended_moves]
            body += found.move(times_c, machine, moves)
            hidden = 0.0 if copies == 2 else first + last
            found.cycles += times_c * (first + body + last - hidden)
        return found.cost()


def _held(work: BlockedPlanes, channels: int, samples: int, copies: int) -> int | float:
    buffers = work.buffers(channels, samples, copies)
    return sum(buffer.size_bytes * buffer.copies for buffer in buffers)


def _rows(
    work: BlockedPlanes, streams: tuple[Stream, ...], channels: int, samples: int
) -> list[Moved]:
    """Rows of a block: a channel's samples lie together, a latent's channels do."""
    moves = []
    for one in streams:
        if one.resident:
            continue
        size = one.bytes_of(channels * samples)
        whole = samples >= work.samples
        rows = samples if one.by_sample else 1 if whole else channels
        moves.append(Moved(rows, size / rows))
    return moves
