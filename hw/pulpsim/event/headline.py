"""The published headline figures, out of the model: values, decomposition, sensitivity.

Ravaglia et al. (JETCAS 2021, abstract) state, for VEGA against an STM32L4: 65x faster on average,
37x more energy-efficient, under 64 MB, and 535 hours of battery at one mini-batch of new data a
minute. Nothing here is fitted to them.
"""

import dataclasses
from collections.abc import Sequence

from pulpsim.cost.platform import Platform, PlatformError
from pulpsim.event import event
from pulpsim.event.event import EventCost
from pulpsim.event.setting import EventSetting

PUBLISHED = {
    "time_ratio": 65.0,
    "chip_energy_ratio": 37.0,
    "energy_ratio": 37.0,
    "memory_MB": 64.0,
    "lifetime_h": 535.0,
}


@dataclasses.dataclass(frozen=True)
class Headline:
    """Means over latent layers unless said otherwise.

    Attributes:
        time_ratio: Seconds of an event on the second chip over those on the first.
        training_time_ratio: Likewise without the frozen stage.
        energy_ratio: Joules, off-chip memory included.
        chip_energy_ratio: Joules of the chips alone.
        mac_per_cycle_ratio: Work per cycle, first chip over second.
        clock_ratio: Clock of the first chip over the second's.
        power_ratio: Active power of the first chip over the second's.
        memory_MB: Of the lowest latent layer that fits, 10^6 bytes on and off chip.
        memory_layer: That layer; -1 if none fits.
        lifetime_h: First chip, highest latent layer, at `events_per_hour`.
    """

    time_ratio: float
    training_time_ratio: float
    energy_ratio: float
    chip_energy_ratio: float
    mac_per_cycle_ratio: float
    clock_ratio: float
    power_ratio: float
    memory_MB: float
    memory_layer: int
    lifetime_h: float


def headline(
    settings: Sequence[EventSetting],
    chip: Platform,
    baseline: Platform,
    events_per_hour: int | float = 60,
) -> Headline:
    """The figures for events that differ in their latent layer, in ascending order.

    Raises:
        ValueError: No events, or too many an hour for the last of them.
    """
    if not settings:
        raise ValueError("a headline needs at least one event")
    fast, slow = event.event_costs(settings, chip), event.event_costs(settings, baseline)
    pairs = list(zip(fast, slow, strict=True))

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    fitting = [result for result in fast if result.memory.fits]
    return Headline(
        mean([b.seconds / a.seconds for a, b in pairs]),
        mean([b.adaptive.seconds / a.adaptive.seconds for a, b in pairs]),
        mean([b.joules / a.joules for a, b in pairs]),
        mean([b.energy.chip_joules / a.energy.chip_joules for a, b in pairs]),
        mean([a.macs_per_cycle / b.macs_per_cycle for a, b in pairs]),
        chip.cluster.clock_hz / baseline.cluster.clock_hz,
        chip.power.active_watts / baseline.power.active_watts,
        fitting[0].memory.learning_bytes / 1e6 if fitting else float("nan"),
        fitting[0].setting.latent_layer if fitting else -1,
        _lifetime(fast[-1], events_per_hour),
    )


def sensitivity(
    settings: Sequence[EventSetting],
    chip: Platform,
    baseline: Platform,
    factors: Sequence[float] = (0.8, 1.25),
) -> list[dict[str, float | str]]:
    """The headline with every recalled or assumed number of either chip scaled, one at a time.

    Returns:
        Rows with the platform, the value's path and status, its factor, and the figures.
    """
    rows: list[dict[str, float | str]] = []
    for which, platform in (("chip", chip), ("baseline", baseline)):
        for path, provenance in platform.provenance.items():
            value = _number(platform, path)
            if provenance.status not in ("recalled", "assumed") or not value:
                continue
            for factor in factors:
                scaled = round(value * factor) if isinstance(value, int) else value * factor
                try:
                    changed = platform.replace(**{path: scaled})
                except PlatformError:
                    continue  # half a core does not exist
                pair = (changed, baseline) if which == "chip" else (chip, changed)
                figures = dataclasses.asdict(headline(settings, *pair))
                rows.append(
                    {
                        "platform": platform.name,
                        "value": path,
                        "status": provenance.status,
                        "factor": factor,
                        **figures,
                    }
                )
    return rows


def _lifetime(result: EventCost, events_per_hour: int | float) -> float:
    if events_per_hour * result.seconds > 3600:
        return float("nan")
    return result.lifetime_hours(events_per_hour)


def _number(platform: Platform, path: str) -> int | float | None:
    section, _, key = path.partition(".")
    value = getattr(getattr(platform, section), key)
    return None if isinstance(value, str) else value
