"""A roofline: multiply-accumulates a cycle of every pass over those a byte, under the chip's roofs.

A pass has two points: over the bytes that it moves off chip, and over those between L2 and L1. The
sloped roofs are the bandwidths of the off-chip RAM and of the DMA, or of a cache's lines; the flat
one is the FP32 units.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from pulpsim.event import passes
from pulpsim.event.event import EventCost
from pulpsim.event.figures import figure
from qlrjax.files import write_atomic

STEPS = {
    "forward": "tab:blue",
    "weight gradient": "tab:red",
    "input gradient": "tab:green",
    "both gradients": "tab:purple",
}


def write(result: EventCost, path: Path) -> None:
    """Draws the trained passes that multiply into a PNG."""
    platform = result.platform
    made = figure(8.0, 5.0)
    axes = made.add_subplot()
    per_cycle = platform.external.bytes_per_s / platform.cluster.clock_hz
    roofs = {"off-chip RAM": per_cycle}
    if platform.dma is not None:
        roofs["DMA between L2 and L1"] = float(platform.dma.bus_bytes)
    if platform.caches is not None:
        roofs["lines from L2"] = platform.caches.line_bytes / platform.caches.fill_cycles
    peak = passes.peak(platform, "forward")
    reach = np.geomspace(0.05, 2000, 200)
    for (name, bandwidth), line in zip(roofs.items(), ("--", ":"), strict=False):
        roof = np.minimum(peak, reach * bandwidth)
        axes.plot(reach, roof, line, color="black", lw=1, label=f"roof: {name}")
    for step, color in STEPS.items():
        _points(axes, result, step, color)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("MAC a byte (filled: off chip, hollow: between L2 and L1)")
    axes.set_ylabel("MAC a cycle (simulated)")
    layer = result.setting.latent_layer
    axes.set_title(f"{platform.name}, l = {layer}; {result.setting.words}", fontsize=9)
    axes.legend(fontsize=8)
    image = io.BytesIO()
    made.savefig(image, format="png", dpi=110)
    write_atomic(path, image.getvalue())


def _points(axes: Any, result: EventCost, step: str, color: str) -> None:
    label: str | None = step
    for row in result.passes:
        cost = row.cost
        if row.scheduled.step != step or not cost.work:
            continue
        for moved, face in ((cost.external_bytes, color), (cost.dma_bytes, "none")):
            if moved:
                place = cost.work / moved, cost.work / cost.cycles
                axes.plot(*place, "o", color=color, markerfacecolor=face, label=label)
                label = None
