"""Speed of the model: one event at all latent layers, and 1,024 settings.

Source: this project's own aim, all trained latent layers in under 5 s from a warm process, and
1,000 settings in under 2 minutes and 1 GB on 2 cores; statistics of the mini-batch.

Command:

    python experiments/hw_sweep.py --out runs/hw_sweep

Expected: about 2 s, and two minutes on two processors.
Minutes on 2 cores: 2.
Verified: 1.6 s; 115 s of wall time, 215 s of the processor, 0.23 GB in each of two processes (at
the highest priority of a machine with ten other programs waiting).
"""

import argparse
import itertools
import resource
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pulpsim.cost import platform
from pulpsim.event import event, figures
from pulpsim.event.setting import EventSetting
from pulpsim.event.sweep import Variant, sweep

from qlrjax import cli
from qlrjax.network import mobilenet_v1

CORES, L1_KIB, BUS_BYTES = (1, 2, 4, 8), (64, 128, 256, 512), (2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    network, vega = mobilenet_v1(), platform.load("vega")
    settings = [EventSetting(network, layer) for layer in range(20, 28)]
    event.event_costs(settings[-1:], vega)
    start = time.perf_counter()
    event.event_costs(settings, vega)
    single = time.perf_counter() - start
    variants = [
        Variant(cores, kib * 1024, bus, fpu)
        for cores, kib, bus, fpu in itertools.product(
            CORES, L1_KIB, BUS_BYTES, ("static", "private")
        )
    ]
    start = time.perf_counter()
    found = sweep(settings, vega, variants)
    swept = time.perf_counter() - start
    parts = resource.getrusage(resource.RUSAGE_CHILDREN)  # the sweep's processes, which have ended
    processor = parts.ru_utime + parts.ru_stime
    peak_bytes = 1024 * parts.ru_maxrss  # Linux gives kilobytes, of the largest
    rows: list[dict[str, Any]] = []
    for i, setting in enumerate(settings):
        for j, chip in enumerate(variants):
            rows.append(
                {
                    "latent_layer": setting.latent_layer,
                    "cores": chip.cores,
                    "l1_KiB": chip.l1_bytes // 1024,
                    "dma_bits": 8 * chip.dma_bus_bytes,
                    "fpu": chip.fpu_map,
                    "event_s": float(found.seconds[i, j]),
                    "event_J": float(found.joules[i, j]),
                    "mac_per_cycle": float(found.macs_per_cycle[i, j]),
                }
            )
    made = drawn(rows)
    facts = {
        "all_latent_layers_s": single,
        "sweep_s": swept,
        "sweep_processor_s": processor,
        "peak_bytes_a_process": peak_bytes,
    }
    figures.save(out, "sweep", rows, made, **facts)
    print(
        f"all latent layers: {single:.2f} s; {len(rows)} settings: {swept:.1f} s, {processor:.1f} "
        f"s of the processor; {peak_bytes / 1e9:.2f} GB a process"
    )


def drawn(rows: list[dict[str, Any]]) -> Figure:
    """Joules against seconds at l = 23, by cores."""
    made = figures.figure(8, 5)
    axes = made.add_subplot()
    for color, cores in enumerate(CORES):
        mine = [row for row in rows if row["cores"] == cores and row["latent_layer"] == 23]
        axes.plot(
            [row["event_s"] for row in mine],
            [row["event_J"] for row in mine],
            "o",
            color=f"C{color}",
            label=f"{cores} cores",
        )
    axes.set_xlabel("seconds an event, l = 23 (simulated)")
    axes.set_ylabel("joules an event (simulated)")
    axes.legend()
    return made


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_sweep", main))
