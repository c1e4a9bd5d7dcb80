"""The headline figures of the paper on the simulated chips, their decomposition and sensitivity.

Source: Ravaglia et al., JETCAS 2021, abstract: 65x faster than an STM32L4 on average, 37x more
energy-efficient, continual learning in under 64 MB, 535 h of battery at one event a minute.

Command:

    python experiments/hw_headline.py --out runs/hw_headline

Expected: mean time ratio 80 (published 65), energy ratio of the chips 44 (37), 32 with the off-chip
RAM, 64 MB at l = 24, 760 h of battery for the last layer alone (535), because the integer kernels
are faster than what the paper's figure implies: 551 h at 8 MAC/cycle. Nothing is fitted to the
published figures.
Minutes on 2 cores: 3.
Verified: yes, see docs/results.md.
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

SHOWN = {
    "time_ratio": "time ratio, STM32L4 to VEGA",
    "chip_energy_ratio": "energy ratio, STM32L4 to VEGA, chips alone",
    "energy_ratio": "energy ratio, STM32L4 to VEGA, with off-chip RAM",
    "lifetime_h": "hours of battery at 60 events an hour, l = 27",
}
WORDS = {
    "battery.charge_mah": "charge of the battery",
    "battery.volts": "voltage of the battery",
    "cluster.barrier_cycles": "cycles of a barrier",
    "cluster.clock_hz": "clock",
    "cluster.cores": "number of cores",
    "cluster.fpus": "number of FPUs",
    "cluster.l1_bytes": "size of L1",
    "cluster.l1_reserved_bytes": "L1 kept for stacks",
    "cluster.offload_cycles": "cycles of an offload",
    "cortex_m4f.flash_factor": "slowdown by flash",
    "dma.program_cycles": "cycles to program the DMA",
    "dma.queued_cycles": "cycles of a queued transfer",
    "external.bytes_per_s": "bandwidth of the off-chip RAM",
    "external.external_bytes": "size of the off-chip RAM",
    "external.joules_per_byte": "energy a byte of the off-chip RAM",
    "l2.joules_per_byte": "energy a byte of L2",
    "l2.l2_bytes": "size of L2",
    "l2.reserved_bytes": "L2 kept for the program",
    "power.active_watts": "active power",
    "power.sleep_watts": "sleeping power",
    "storage.joules_per_byte": "energy a byte of the non-volatile memory",
    "storage.read_bytes_per_s": "bandwidth of the non-volatile memory",
    "storage.storage_bytes": "size of the non-volatile memory",
}


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
    made = figures.figure(15, 8)
    for axes, (key, title) in zip(made.subplots(2, 2).flat, SHOWN.items(), strict=True):
        axes.use_sticky_edges = False
        spans: dict[str, list[float]] = {}
        for row in rows:
            spans.setdefault(in_words(row["platform"], row["value"]), []).append(row[key])
        ordered = sorted(spans.items(), key=lambda item: max(item[1]) - min(item[1]))[-9:]
        ordered = [item for item in ordered if max(item[1]) - min(item[1]) > 1e-3 * values[key]]
        for height, (_, span) in enumerate(ordered):
            low, high = min(span), max(span)
            axes.barh(height, high - low, left=low, color="tab:blue", height=0.6)
        axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=8)
        axes.axvline(values[key], color="black", label="model")
        axes.axvline(headline.PUBLISHED[key], color="tab:red", ls="--", label="published")
        axes.set_xlabel(f"{title} (simulated)", fontsize=9)
        axes.set_title("each unproven value x0.8 to x1.25, one at a time", fontsize=9)
        axes.legend(fontsize=8)
    return made


def in_words(chip: str, path: str) -> str:
    """A platform value as people call it."""
    section, _, key = path.partition(".")
    return f"{chip.upper()}: {WORDS.get(path, f'{section} {key}'.replace('_', ' '))}"


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_headline", main))
