"""Speed of the model: one event at all latent layers, and 1,024 settings through vmap.

Source: this project's own aim, all latent layers in under 10 s from a warm process and 1,000
settings in under 2 minutes on 2 cores.

Command:

    python experiments/hw_sweep.py --out runs/hw_sweep

Expected: about 1 s, and most of two minutes of CPU time, nearly all of it compilation.
Minutes on 2 cores: 2.
Verified: 1.3 s and 282 s of wall time (115 s of CPU time) on 2 cores that had a load of 11.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

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
    settings = [EventSetting(network, layer, statistics="running") for layer in range(20, 28)]
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
    figures.save(out, "sweep", rows, made, all_latent_layers_s=single, sweep_s=swept)
    print(f"all latent layers: {single:.2f} s; {len(rows)} settings: {swept:.1f} s")


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_sweep", main))
