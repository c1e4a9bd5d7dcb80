"""Latency, energy and memory of a learning event per latent layer, on VEGA and the STM32L4.

Source: Ravaglia et al., JETCAS 2021 (latency and energy per latent layer on both chips; memory
against 64 MB). Recalled from the paper: VEGA's training part about 2490 s at l = 20, 880 s at
l = 23 and 2.07 s at l = 27; 165,000 s and 139 s on the STM32L4 at l = 20 and 27.

Command:

    python experiments/hw_latent_layers.py --out runs/hw_latent_layers

Expected: time ratio 76 to 90; l = 24 to 27 fit 64 MiB with 1500 8-bit replays.
Minutes on 2 cores: 0.2.
Verified: yes, see docs/results.md.
"""

from typing import Any

import hw_options
import numpy as np
from pulpsim.cost import platform
from pulpsim.event import event, figures, memory, tables
from pulpsim.event.event import EventCost
from pulpsim.event.setting import EventSetting

from qlrjax import cli

PARTS = (
    "frozen",
    "replay read",
    "forward",
    "normalise",
    "norm sums",
    "norm gradient",
    "weight gradient",
    "input gradient",
    "update",
)
ENERGY_PARTS = {
    "chip": "chip",
    "l2": "L2",
    "storage": "non-volatile memory",
    "external": "off-chip RAM",
}


def main() -> None:
    settings, out = hw_options.parse(__doc__, range(19, 28))
    layers = [setting.latent_layer for setting in settings]
    chips = [platform.load(name) for name in ("vega", "stm32l4")]
    results = [event.event_costs(settings, chip) for chip in chips]
    rows = [tables.summary(result, 1.0) for chip in results for result in chip]
    paths = (*tables.TIME_PATHS, *tables.ENERGY_PATHS)
    notes = [note for chip in chips for note in tables.unproven(chip, *paths)]
    figures.save(out, "latent_layers", rows, draw(results, layers), unproven=notes)
    table = memory_rows(settings[0].network, layers, chips[0])
    figures.save(out, "memory", table, draw_memory(table, layers))
    for ours, theirs in zip(*results, strict=True):
        print(
            f"l = {ours.setting.latent_layer}: {ours.seconds:8.4g} s {ours.joules:8.4g} J, "
            f"STM32L4 {theirs.seconds:8.4g} s {theirs.joules:8.4g} J, "
            f"{theirs.seconds / ours.seconds:.1f}x faster"
        )


def draw(results: list[list[EventCost]], layers: list[int]) -> Any:
    """Seconds and joules on both chips, and where VEGA's time and energy go."""
    made = figures.figure(13, 9)
    panels = made.subplots(2, 2)
    place = np.arange(len(layers))
    for axes, key, label in zip(
        panels[0], ("seconds", "joules"), ("seconds an event", "joules an event"), strict=True
    ):
        both(axes, results, key)
        axes.set_ylabel(f"{label} (simulated)")
    vega = results[0]
    times = {part: [r.select(step=part).seconds / r.seconds for r in vega] for part in PARTS}
    stack(panels[1, 0], times)
    panels[1, 0].set_ylabel("share of VEGA's time (simulated)")
    energies = {
        name: [getattr(r.energy, f"{part}_joules") / r.joules for r in vega]
        for part, name in ENERGY_PARTS.items()
    }
    stack(panels[1, 1], energies)
    panels[1, 1].set_ylabel("share of VEGA's energy (simulated)")
    for axes in panels.flat:
        axes.set_xticks(place, [str(layer) for layer in layers])
        axes.set_xlabel("latent layer (first trained layer)")
    return made


def both(axes: Any, results: list[list[EventCost]], key: str) -> None:
    """Both chips as points, for a logarithmic axis has no ground that bars could stand on."""
    place = np.arange(len(results[0]))
    for chip, mark in zip(results, ("o-", "s-"), strict=True):
        values = [getattr(result, key) for result in chip]
        axes.plot(place, values, mark, lw=1, label=chip[0].platform.name.upper())
    for x, ours, theirs in zip(place, *results, strict=True):
        ratio = getattr(theirs, key) / getattr(ours, key)
        middle = (getattr(theirs, key) * getattr(ours, key)) ** 0.5
        axes.text(x, middle, f"{ratio:.0f}x", ha="center", va="center", fontsize=8)
    axes.set_yscale("log")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()


def stack(axes: Any, parts: dict[str, list[float]]) -> None:
    """Shares of a whole, from 0 to 1; the names stand above."""
    bottom = np.zeros(len(next(iter(parts.values()))))
    for name, share in parts.items():
        if any(share):
            axes.bar(np.arange(len(bottom)), share, 0.7, bottom=bottom, label=name)
            bottom += share
    rest = 1 - bottom
    if rest.max() > 5e-4:
        axes.bar(np.arange(len(bottom)), rest, 0.7, bottom=bottom, color="lightgray", label="rest")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def memory_rows(network: Any, layers: list[int], chip: platform.Platform) -> list[dict[str, Any]]:
    """Bytes by latent layer, replays and bits, with running statistics, one sample at a time."""
    rows = []
    for layer in layers:
        for replays in (1500, 3000):
            for bits in (8, 7, 6):
                case = EventSetting(network, layer, replays, bits, statistics="running")
                plan = memory.plan(case, chip)
                size = {row.name: row.size_bytes for row in plan.tensors if not row.reused}
                learned = size["trained weights"] + size["gradients"] + size["momentum"]
                rows.append(
                    {
                        "latent_layer": layer,
                        "replays": replays,
                        "bits": bits,
                        "replay_MB": size["replays"] / 1e6,
                        "latents_MB": size["new latents"] / 1e6,
                        "parameters_MB": learned / 1e6,
                        "frozen_MB": size["frozen weights"] / 1e6,
                        "maps_MB": (size["activations"] + size["gradient maps"]) / 1e6,
                        "memory_MB": plan.learning_bytes / 1e6,
                        "fits": plan.fits,
                    }
                )
    return rows


def draw_memory(rows: list[dict[str, Any]], layers: list[int]) -> Any:
    """Stacked bytes against 64 MB."""
    made = figures.figure(12, 5)
    parts = ("replay_MB", "latents_MB", "parameters_MB", "maps_MB", "frozen_MB")
    labels = (
        "replays",
        "latents of the new images",
        "weights, gradients, momentum",
        "activations of a sample",
        "frozen weights (MRAM)",
    )
    for panel, replays in enumerate((1500, 3000)):
        axes = made.add_subplot(1, 2, panel + 1)
        for shift, bits in ((-0.27, 8), (0.0, 7), (0.27, 6)):
            kept = [r for r in rows if r["replays"] == replays and r["bits"] == bits]
            bottom = np.zeros(len(layers))
            for color, (part, label) in enumerate(zip(parts, labels, strict=True)):
                values = np.array([row[part] for row in kept])
                axes.bar(
                    np.arange(len(layers)) + shift,
                    values,
                    0.25,
                    bottom=bottom,
                    color=f"C{color}",
                    label=label if bits == 8 else None,
                )
                bottom += values
        axes.axhline(64, color="black", ls="--", label="64 MB")
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlabel("latent layer; bars: 8, 7, 6 bits")
        axes.set_ylabel("MB (10^6 bytes)")
        axes.set_title(f"{replays} replays")
        axes.legend(fontsize=8)
    return made


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_latent_layers", main))
