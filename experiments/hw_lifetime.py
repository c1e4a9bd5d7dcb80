"""Hours of battery against events an hour, per latent layer, on VEGA and the STM32L4.

Source: Ravaglia et al., JETCAS 2021: 535 h when a new mini-batch of data is learned every minute
(recalled: last layer only, 3300 mAh).

Command:

    python experiments/hw_lifetime.py --out runs/hw_lifetime

Expected: last layer only, 60 events an hour: above 535 h on VEGA; a curve ends where events take
longer than the time between them.
Minutes on 2 cores: 0.2.
Verified: yes, see the README.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from pulpsim.cost import platform
from pulpsim.event import event, figures, tables
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.network import mobilenet_v1

LAYERS = (20, 23, 25, 27)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--statistics", choices=("running", "minibatch"), default="running")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    network = mobilenet_v1()
    settings = [EventSetting(network, layer, statistics=arguments.statistics) for layer in LAYERS]
    rows: list[dict[str, Any]] = []
    made = figures.figure(9, 6)
    axes = made.add_subplot()
    notes = []
    for chip, style in ((platform.load("vega"), "-"), (platform.load("stm32l4"), "--")):
        notes += tables.unproven(chip, *tables.BATTERY_PATHS, *tables.ENERGY_PATHS)
        for color, result in enumerate(event.event_costs(settings, chip)):
            layer, fastest = result.setting.latent_layer, 3600 / result.seconds
            rates = [rate for rate in (*np.geomspace(0.01, 600, 60), 1.0, 60.0) if rate <= fastest]
            hours = [result.lifetime_hours(float(rate)) for rate in sorted(rates)]
            for rate, hour in zip(sorted(rates), hours, strict=True):
                rows.append(
                    {
                        "platform": chip.name,
                        "latent_layer": layer,
                        "events_per_hour": float(rate),
                        "lifetime_h": hour,
                        "event_s": result.seconds,
                        "event_J": result.joules,
                    }
                )
            if rates:
                axes.plot(
                    sorted(rates),
                    hours,
                    style,
                    color=f"C{color}",
                    label=f"{chip.name}, l = {layer}",
                )
            if 60.0 in rates:
                print(f"{chip.name}, l = {layer}: {result.lifetime_hours(60):.0f} h at 60 an hour")
    axes.plot([60], [535], "k*", markersize=12, label="published: 535 h")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("learning events an hour")
    axes.set_ylabel("hours of battery, 3300 mAh (simulated)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figures.save(arguments.out, "lifetime", rows, made, unproven=notes)


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_lifetime", main))
