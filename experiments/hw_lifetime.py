"""Hours of battery against events an hour, per latent layer, on VEGA and the STM32L4.

Source: Ravaglia et al., JETCAS 2021: 535 h when a new mini-batch of data is learned every minute
(recalled: last layer only, 3300 mAh).

Command:

    python experiments/hw_lifetime.py --out runs/hw_lifetime

Expected: last layer only, 60 events an hour: above 535 h on VEGA; a curve ends where events take
longer than the time between them.
Minutes on 2 cores: 0.2.
Verified: yes, see docs/results.md.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from pulpsim.cost import platform
from pulpsim.event import event, figures, tables
from pulpsim.event.event import EventCost
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.network import mobilenet_v1

LAYERS = (20, 23, 25, 27)
TEN_YEARS_H = 87_660


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--statistics", choices=("minibatch", "running"), default="minibatch")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    network = mobilenet_v1()
    settings = [EventSetting(network, layer, statistics=arguments.statistics) for layer in LAYERS]
    chips = [platform.load(name) for name in ("vega", "stm32l4")]
    paths = (*tables.BATTERY_PATHS, *tables.ENERGY_PATHS)
    notes = [note for chip in chips for note in tables.unproven(chip, *paths)]
    results = [result for chip in chips for result in event.event_costs(settings, chip)]
    rows = [row for result in results for row in lifetimes(result)]
    for result in results:
        if 60.0 * result.seconds <= 3600:
            name, layer = result.platform.name, result.setting.latent_layer
            print(f"{name}, l = {layer}: {result.lifetime_hours(60):.0f} h at 60 an hour")
    figures.save(arguments.out, "lifetime", rows, draw(rows), unproven=notes)


def lifetimes(result: EventCost) -> list[dict[str, Any]]:
    """Hours of battery at the rates that leave time for the event."""
    rates = sorted({*np.geomspace(0.01, 600, 60).tolist(), 1.0, 60.0})
    return [
        {
            "platform": result.platform.name,
            "latent_layer": result.setting.latent_layer,
            "events_per_hour": rate,
            "lifetime_h": result.lifetime_hours(rate),
            "event_s": result.seconds,
            "event_J": result.joules,
        }
        for rate in rates
        if rate * result.seconds <= 3600
    ]


def draw(rows: list[dict[str, Any]]) -> Any:
    """Lifetime against rate, up to ten years: beyond that a battery's own ageing decides."""
    made = figures.figure(9, 6)
    axes = made.add_subplot()
    for name, style in (("vega", "-"), ("stm32l4", "--")):
        for color, layer in enumerate(LAYERS):
            kept = [r for r in rows if (r["platform"], r["latent_layer"]) == (name, layer)]
            if kept:
                axes.plot(
                    [row["events_per_hour"] for row in kept],
                    [row["lifetime_h"] for row in kept],
                    style,
                    color=f"C{color}",
                    label=f"{name.upper()}, l = {layer}",
                )
    axes.plot([60], [535], "k*", markersize=12, label="published: 535 h, l = 27")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(24, TEN_YEARS_H)
    marks = {24: "1 day", 168: "1 week", 730: "1 month", 8766: "1 year"}
    axes.set_yticks([*marks, TEN_YEARS_H], [*marks.values(), "10 years"], minor=False)
    axes.set_yticks([], minor=True)
    axes.set_xlabel("learning events an hour")
    axes.set_ylabel("life of a 3300 mAh battery (simulated)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return made


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_lifetime", main))
