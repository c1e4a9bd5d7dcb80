"""Where a tile lies in L1: argument words, buffers, stacks, and each core's share.

Addresses are those of the measured runs, because bank conflicts depend on them: argument blocks of
17 words from the start of L1, buffers one after the other on 64-byte boundaries (every buffer
starts in bank 0) in the order of the argument words, stacks 1 KiB apart at the top. Rows marked
`@old` in the RTL table have fixed buffers in bank 14 instead. Source: RTL (header of the measured
programs).
"""

import dataclasses
from collections.abc import Mapping

from pulpsim.cluster.interpreter import Memory
from pulpsim.kernels.shape import START, STOP, Tile

L1_BASE = 0x10000000
L1_BYTES = 128 * 1024
_ARENA = 0x10000280
_STACK_TOP = 0x1001FFC0
_STACK_BYTES = 0x400
_OLD_BUFFERS = (0x10000038, 0x10009038, 0x10012038)
_OLD_ARGUMENTS = 0x1001B038


@dataclasses.dataclass(frozen=True)
class Placement:
    """Addresses of a tile in L1.

    Attributes:
        buffers: Address by name.
        arguments: Address of each core's argument block.
        stacks: Stack pointer of each core at entry.
    """

    buffers: Mapping[str, int]
    arguments: tuple[int, ...]
    stacks: tuple[int, ...]


def share(items: int, granularity: int, cores: int, core: int) -> tuple[int, int]:
    """First item of a core and the one behind its last.

    Args:
        items: Items of the tile.
        granularity: Items come in multiples of this.
        cores: Cores that take part.
        core: Number of the core.
    """
    block = -(-items // cores)
    block = -(-block // granularity) * granularity
    return min(core * block, items), min((core + 1) * block, items)


def place(tile: Tile, cores: int, *, bank_shift: bool = False, old: bool = False) -> Placement:
    """Lays a tile out.

    Args:
        tile: Its sizes.
        cores: Cores that take part.
        bank_shift: Whether buffer j starts in bank j instead of bank 0.
        old: Whether to use the fixed addresses of the earlier series.

    Raises:
        ValueError: The buffers do not fit under the stacks.
    """
    stacks = tuple(_STACK_TOP - _STACK_BYTES * core for core in range(cores))
    if old:
        buffers = dict(zip(tile.buffers, _OLD_BUFFERS, strict=False))
        return Placement(buffers, tuple(_OLD_ARGUMENTS + 32 * n for n in range(cores)), stacks)
    buffers, free = {}, _ARENA
    for index, (name, size) in enumerate(tile.buffers.items()):
        free = -(-free // 64) * 64
        buffers[name] = free + (4 * index if bank_shift else 0)
        free = buffers[name] + size
    limit = stacks[-1] - _STACK_BYTES // 2
    if free > limit:
        raise ValueError(
            f"the tile takes {free - _ARENA} bytes but L1 has {limit - _ARENA} for it with"
            f" {cores} cores; give a smaller shape"
        )
    return Placement(buffers, tuple(L1_BASE + 68 * core for core in range(cores)), stacks)


def memory(tile: Tile, placement: Placement, cores: int) -> Memory:
    """L1 with the argument block of every core written."""
    filled = Memory(L1_BASE, L1_BYTES)
    for core in range(cores):
        words = {tile.words[name]: value & 0xFFFFFFFF for name, value in tile.scalars.items()}
        for name, address in placement.buffers.items():
            words[tile.words[name]] = address + tile.per_core.get(name, 0) * core
        words[START], words[STOP] = share(tile.items, tile.granularity, cores, core)
        for word, value in words.items():
            filled.store(placement.arguments[core] + 4 * word, 4, value)
    return filled
