"""MAC/cycle of the training passes against cores, L1 size, DMA width and the map of FPUs.

Source: Ravaglia et al., JETCAS 2021 (MAC/cycle of forward, input gradient and weight gradient by
layer type over L1 size, cores and L2-L1 bandwidth; axes recalled, no values).

Command:

    python experiments/hw_kernels.py --out runs/hw_kernels

Expected: pointwise passes near 3.5 MAC/cycle on 8 cores and 4 FPUs; depthwise and linear passes
limited by the DMA below 64 bits a cycle.
Minutes on 2 cores: 0.5.
Verified: yes, see docs/results.md.
"""

import argparse
from pathlib import Path
from typing import Any

from pulpsim.cost import platform
from pulpsim.cost.machine import machine
from pulpsim.event import figures, layers
from pulpsim.event.event import Costs
from pulpsim.event.layers import Places
from pulpsim.event.sweep import Variant

from qlrjax import cli
from qlrjax.network import mobilenet_v1

LAYERS = (
    (20, "pointwise 512-512, 8x8"),
    (21, "depthwise 512, 8x8"),
    (23, "depthwise 512, 8x8 to 4x4"),
    (27, "linear 1024-50"),
)
CORES, L1_KIB, DMA_BITS = (1, 2, 4, 8), (64, 128, 256, 512), (8, 16, 32, 64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    base = Variant(8, 128 * 1024, 8, "static")
    variants = [
        Variant(cores, base.l1_bytes, 8, fpu) for cores in CORES for fpu in ("static", "private")
    ]
    variants += [Variant(8, kib * 1024, bits // 8, "static") for kib in L1_KIB for bits in DMA_BITS]
    rows = [row for variant in dict.fromkeys(variants) for row in measure(variant)]
    figures.save(out, "kernels", rows, draw(rows))
    for row in rows:
        if Variant(row["cores"], row["l1_KiB"] * 1024, row["dma_bits"] // 8, row["fpu"]) == base:
            print(f"{row['layer']:28s} {row['step']:16s} {row['mac_per_cycle']:.2f} MAC/cycle")


def measure(variant: Variant) -> list[dict[str, Any]]:
    """Every pass of the layers on one chip, all operands in L2."""
    search = Costs(machine(variant.apply(platform.load("vega"))), slack=0.0)
    network, places, rows = mobilenet_v1(), Places(), []
    for index, name in LAYERS:
        row = network.layers[index]
        steps = {
            "forward": layers.forward(row, 1, "running", places, padded=False),
            "weight gradient": layers.weight_gradient(row, 1, True, places),
            "input gradient": layers.input_gradient(row, 1, places),
        }
        for step, work in steps.items():
            tile, cost = search(work)
            rows.append(
                {
                    "layer": name,
                    "step": step,
                    "cores": variant.cores,
                    "l1_KiB": variant.l1_bytes // 1024,
                    "dma_bits": 8 * variant.dma_bus_bytes,
                    "fpu": variant.fpu_map,
                    "tile": "x".join(map(str, tile)),
                    "mac_per_cycle": cost.work / cost.cycles,
                    "cycles": cost.cycles,
                    "compute_cycles": cost.compute_cycles,
                    "dma_cycles": cost.dma_cycles,
                }
            )
    return rows


def draw(rows: list[dict[str, Any]]) -> Any:
    """A row of panels per layer: cores, DMA width, L1 size."""
    made = figures.figure(13, 14)
    steps = ("forward", "weight gradient", "input gradient")
    for line, (_, name) in enumerate(LAYERS):
        mine = [row for row in rows if row["layer"] == name]
        panels = (
            ("cores", lambda r: (r["l1_KiB"], r["dma_bits"]) == (128, 64), "cores"),
            (
                "dma_bits",
                lambda r: (r["cores"], r["fpu"], r["l1_KiB"]) == (8, "static", 128),
                "DMA width [bit/cycle], 8 cores, 128 KiB",
            ),
            (
                "l1_KiB",
                lambda r: (r["cores"], r["fpu"], r["dma_bits"]) == (8, "static", 64),
                "L1 [KiB], 8 cores, 64 bit",
            ),
        )
        for column, (key, kept, label) in enumerate(panels):
            axes = made.add_subplot(len(LAYERS), 3, 3 * line + column + 1)
            for color, step in enumerate(steps):
                for fpu, style in (("static", "o-"), ("private", "s--")):
                    wanted = [row for row in mine if (row["step"], row["fpu"]) == (step, fpu)]
                    points = sorted((r[key], r["mac_per_cycle"]) for r in wanted if kept(r))
                    if points:
                        shown = step if fpu == "static" else f"{step}, private FPUs"
                        axes.plot(*zip(*points, strict=True), style, color=f"C{color}", label=shown)
            axes.set_xscale("log", base=2)
            ticks = sorted({row[key] for row in mine if kept(row)})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
            axes.set_xlabel(label)
            axes.set_ylabel("MAC/cycle (simulated)")
            axes.set_title(name, fontsize=9)
            axes.grid(alpha=0.3)
            if line == 0 and column < 2:
                axes.legend(fontsize=7)
    return made


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_kernels", main))
