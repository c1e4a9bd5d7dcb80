"""One mini-batch in the Chrome trace format, for Perfetto: cores, DMA and off-chip RAM as tracks.

A pass is cut into its blocks and a block into its tiles; a block's cycles are shared out evenly
over its tiles, and the DMA and the RAM work ahead of the cores as they do in the double buffer, so
lengths are exact by pass and even within it. Times are microseconds of the simulated chip.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.event.event import EventCost, PassCost
from qlrjax.files import write_atomic

TRACKS = {"passes": 1, "cores": 2, "DMA L2-L1": 3, "off-chip RAM": 4}
BEFORE = ("frozen", "latent write", "replay write")


def write(result: EventCost, path: Path) -> int:
    """Writes the trace of one mini-batch; returns the number of its slices."""
    events = [*_names(), *_slices(result)]
    text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, separators=(",", ":"))
    write_atomic(path, text + "\n")
    return len(events) - len(TRACKS)


def _names() -> Iterator[dict[str, Any]]:
    for name, number in TRACKS.items():
        yield {"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}}


def _slices(result: EventCost) -> Iterator[dict[str, Any]]:
    start, per_cycle = 0.0, 1e6 / result.platform.cluster.clock_hz
    for row in result.passes:
        if row.scheduled.step in BEFORE:
            continue
        once = row.cost.times(1 / row.scheduled.count)
        if once.cycles <= 0:
            continue
        layer, step = row.scheduled.layer, row.scheduled.step
        name = f"{layer} {step}" if layer >= 0 else row.scheduled.name
        whole = once.cycles * per_cycle
        yield _slice("passes", name, start, whole, {"held_bytes": _held(row)})
        shares = {
            "cores": once.compute_cycles,
            "DMA L2-L1": once.dma_cycles,
            "off-chip RAM": once.outside_cycles,
        }
        blocks, tiles = pieces(row)
        for track, busy in shares.items():
            count = blocks if track == "off-chip RAM" else blocks * tiles
            if busy <= 0:
                continue
            # Transfers of a piece run while the piece before it is computed.
            each, length = whole / count, min(busy / once.cycles, 1.0) * whole / count
            for piece in range(count):
                where = {"block": piece} if track == "off-chip RAM" else {"tile": piece}
                yield _slice(track, name, start + piece * each, length, where)
        start += whole


def pieces(row: PassCost) -> tuple[int, int]:
    """Blocks of a pass, and tiles of a block."""
    work, blocked = row.scheduled.work, row.blocked
    if isinstance(work, BlockedProduct) and blocked is not None:
        sizes = (work.n, work.k, work.m)
        blocks = math.prod(-(-s // b) for s, b in zip(sizes, blocked.block, strict=True))
        pairs = zip(blocked.block, row.tile[:3], strict=True)
        return blocks, math.prod(-(-b // t) for b, t in pairs)
    if isinstance(work, BlockedPlanes) and blocked is not None:
        channels, samples = blocked.block
        blocks = -(-work.channels // channels) * -(-work.samples // samples)
        return blocks, -(-channels // row.tile[0])
    return 1, 1


def _held(row: PassCost) -> float:
    return row.blocked.held_bytes if row.blocked else 0.0


def _slice(track: str, name: str, start: float, length: float, args: Any) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": 1,
        "tid": TRACKS[track],
        "name": name,
        "ts": round(start, 3),
        "dur": round(length, 3),
        "args": args,
    }
