"""Which maps live off chip at each moment of a mini-batch, and at which address.

A map lives from the pass that writes it to the last one that reads it. Where a depthwise pass reads
dy of a layer and writes dy of the one below, with equal planes, block for block, the second takes
the place of the first, if nobody reads the first later.
"""

import dataclasses
from collections.abc import Sequence

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Stream
from pulpsim.event.blocked import Blockwise
from pulpsim.event.setting import EventSetting


@dataclasses.dataclass(frozen=True)
class Lifetime:
    """A map in off-chip memory.

    Attributes:
        name: Of the map.
        size_bytes: Of all samples of the mini-batch.
        first: Number of the pass that writes it.
        last: Of the last pass that reads it.
        address: Within the memory for maps.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    address: int


def of(setting: EventSetting, steps: Sequence[Blockwise]) -> list[Lifetime]:
    """Lifetimes and addresses of all maps of a mini-batch."""
    spans = _spans(setting, steps)
    placed: list[Lifetime] = []
    in_place = _in_place(steps, {name: last for name, (_, _, last) in spans.items()})
    # Large ones first; a map that takes another's place follows it.
    order = sorted(spans, key=lambda name: (-spans[name][0], spans[name][1], name))
    for name in order:
        if name in in_place and in_place[name] in spans:
            continue
        chain = _chain(name, in_place, spans)
        size = spans[name][0]
        first = min(spans[one][1] for one in chain)
        last = max(spans[one][2] for one in chain)
        address = _lowest(size, first, last, placed)
        placed += [Lifetime(one, *spans[one], address) for one in chain]
    return sorted(placed, key=lambda one: (one.first, one.name))


def highest_bytes(lives: Sequence[Lifetime]) -> int:
    """Memory that all maps need."""
    return max((one.address + one.size_bytes for one in lives), default=0)


def moved(step: Blockwise) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    """Streams that a pass reads and writes."""
    work = step.work
    if isinstance(work, BlockedPlanes):
        return work.reads, work.writes
    if isinstance(work, BlockedProduct):
        return (*work.a.reads, *work.b.reads, *work.c.reads), work.c.writes
    return (), ()


def _spans(setting: EventSetting, steps: Sequence[Blockwise]) -> dict[str, tuple[int, int, int]]:
    """(bytes, first pass, last pass) of every map."""
    samples, network = setting.samples_per_minibatch, setting.network
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        reads, writes = moved(step)
        for one in writes:
            first.setdefault(one.name, number)
        for one in (*reads, *writes):
            last[one.name] = number
    found = {}
    for name, start in first.items():
        if name.split()[0] in ("weights", "momentum", "logits", "logit"):
            continue
        if name.startswith("pooled"):
            elements, size = network.layers[-1].in_channels, 4.0
        else:
            elements = network.layers[int(name.split()[1])].out_elements
            size = setting.map_bytes
        found[name] = (int(elements * samples * size), start, last[name])
    return found


def _in_place(steps: Sequence[Blockwise], last_reads: dict[str, int]) -> dict[str, str]:
    """What takes whose place: by name."""
    found = {}
    for number, step in enumerate(steps):
        if not isinstance(step.work, BlockedPlanes):
            continue
        gradients = [one for one in step.work.reads if one.name[:2] in ("dy", "dz")]
        for old, new in zip(gradients, step.work.writes, strict=False):
            equal = old.share == new.share and old.element_bytes == new.element_bytes
            if equal and old.name != new.name and last_reads.get(old.name) == number:
                found[new.name] = old.name
    return found


def _chain(
    name: str, in_place: dict[str, str], spans: dict[str, tuple[int, int, int]]
) -> list[str]:
    followers = {old: new for new, old in in_place.items() if new in spans}
    chain = [name]
    while chain[-1] in followers:
        chain.append(followers[chain[-1]])
    return chain


def _lowest(size: int, first: int, last: int, placed: Sequence[Lifetime]) -> int:
    taken = sorted(
        (one.address, one.address + one.size_bytes)
        for one in placed
        if one.first <= last and first <= one.last
    )
    address = 0
    for start, end in taken:
        if address + size <= start:
            break
        address = max(address, end)
    return address
