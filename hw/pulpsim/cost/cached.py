"""Tiles of a core with a data cache: fetched from L2 by lines, which the core waits for.

A tile is chosen to stay in the cache while it is computed on, so each of its lines comes once and
goes once (`Caches.fill_cycles`, `Caches.evict_cycles`). Half of the cache stays empty, as the
second buffer does on a chip with a DMA: room for lines that meet in one set. Nothing is fetched
ahead, so no transfer is hidden. Rows that lie apart are whole lines each. Results are taken to be
written by whole lines, which a Cortex-M7 does not fetch first.
"""

from typing import Any

from pulpsim.cost.chip import Caches
from pulpsim.cost.dma import Flow, ceil_div

Numbers = Any


def transfer(
    rows: Numbers, row_bytes: Numbers, contiguous: Any, cache: Caches, xp: Any, *, write: bool
) -> Flow:
    """Lines of a tile of `rows` rows on their way, one block where `contiguous`.

    Beats of the flow are lines.
    """
    whole = ceil_div(rows * row_bytes, cache.line_bytes)
    lines = xp.where(contiguous, whole, rows * ceil_div(row_bytes, cache.line_bytes))
    if write:
        return Flow(1.0, write_cycles=lines * cache.evict_cycles, write_beats=lines)
    return Flow(1.0, read_cycles=lines * cache.fill_cycles, read_beats=lines)


def cycles(flow: Flow) -> Numbers:
    """Cycles that the core waits."""
    return flow.read_cycles + flow.write_cycles
