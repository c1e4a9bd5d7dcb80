"""The headline figures of the paper on the simulated chips, their decomposition and sensitivity.

Source: Ravaglia et al., JETCAS 2021, abstract: 65x faster than an STM32L4 on average, 37x more
energy-efficient, continual learning in under 64 MB, 535 h of battery at one event a minute.

Command:

    python experiments/hw_headline.py --out runs/hw_headline

Expected: mean time ratio 65 and chip energy ratio 37 within 15 %; lifetime of last-layer learning
above 535 h, because the integer kernels are faster than what the paper's figure implies.
Minutes on 2 cores: 1.
Verified: yes, see the README.
"""

import dataclasses
import json
from typing import Any

import hw_options
from pulpsim.cost import platform
from pulpsim.cost.energy import lifetime_hours
from pulpsim.event import event, figures, headline
from pulpsim.event.setting import EventSetting

from qlrjax import cli


def main() -> None:
    settings, out = hw_options.parse(__doc__, range(20, 28))
    chip, baseline = platform.load("vega"), platform.load("stm32l4")
    figure = headline.headline(settings, chip, baseline)
    rows = headline.sensitivity(settings, chip, baseline)
    slower = slow_frozen(settings[-1], chip, 8.0)
    values = dataclasses.asdict(figure)
    for key, published in headline.PUBLISHED.items():
        print(f"{key:20s} {values[key]:8.3g}   published {published:g}")
    print(
        f"decomposition: {figure.mac_per_cycle_ratio:.3g} (MAC/cycle) x {figure.clock_ratio:.3g} "
        f"(clock) of time, / {figure.power_ratio:.3g} (power) of energy"
    )
    print(f"lifetime with the frozen stage at 8 MAC/cycle: {slower:.0f} h")
    picture = draw(values, rows)
    figures.save(
        out,
        "headline",
        rows,
        picture,
        headline=values,
        published=headline.PUBLISHED,
        lifetime_h_at_8_mac_per_cycle=slower,
    )
    print(json.dumps({"out": str(out)}))


def slow_frozen(setting: EventSetting, chip: platform.Platform, macs_per_cycle: float) -> float:
    """Lifetime in hours if the integer stage ran at the rate that the paper's 535 h imply."""
    result = event.event_cost(setting, chip)
    frozen = result.select(step="frozen")
    seconds = frozen.macs / macs_per_cycle / chip.cluster.clock_hz - frozen.seconds
    joules = result.joules + seconds * chip.power.active_watts
    return lifetime_hours(result.seconds + seconds, joules, 60, chip)


def draw(values: dict[str, Any], rows: list[dict[str, Any]]) -> Any:
    """One panel per figure: how far every unproven value moves it."""
    shown = (
        ("time_ratio", "time ratio"),
        ("chip_energy_ratio", "energy ratio, chips alone"),
        ("energy_ratio", "energy ratio, with off-chip memory"),
        ("lifetime_h", "battery [h], l = 27, 60 an hour"),
    )
    made = figures.figure(13, 9)
    for place, (key, title) in enumerate(shown):
        axes = made.add_subplot(2, 2, place + 1)
        axes.use_sticky_edges = False
        spans: dict[str, list[float]] = {}
        for row in rows:
            spans.setdefault(f"{row['platform']} {row['value']}", []).append(row[key])
        ordered = sorted(spans.items(), key=lambda item: max(item[1]) - min(item[1]))[-9:]
        for height, (_, span) in enumerate(ordered):
            low, high = min(span), max(span)
            axes.barh(height, high - low, left=low, color="tab:blue", height=0.6)
        axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=8)
        axes.axvline(values[key], color="black", label="model")
        axes.axvline(headline.PUBLISHED[key], color="tab:red", ls="--", label="published")
        axes.set_title(f"{title}: unproven values x0.8 to x1.25", fontsize=9)
        axes.legend(fontsize=8)
    return made


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_headline", main))
