"""From time and bytes to joules by part, and from joules to hours of battery."""

import dataclasses
import math
from typing import Any

from pulpsim.cost.platform import Platform
from pulpsim.cost.tiling import Cost


@dataclasses.dataclass(frozen=True)
class Energy:
    """Joules by part.

    Attributes:
        chip_joules: Cores, FPUs, L1 and control while the pass lasts: active power times time.
        l2_joules: Transfers between L2 and L1.
        storage_joules: Reads of the non-volatile memory.
        external_joules: Transfers from and to the off-chip RAM, the device included.
    """

    chip_joules: float = 0.0
    l2_joules: float = 0.0
    storage_joules: float = 0.0
    external_joules: float = 0.0

    @property
    def total_joules(self) -> float:
        """Sum of the parts."""
        return sum(dataclasses.astuple(self))

    def __add__(self, other: "Energy") -> "Energy":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Energy(*(mine + theirs for mine, theirs in pairs))


def joules(cost: Cost, platform: Platform) -> Any:
    """Joules in all of a cost whose figures may be arrays."""
    return sum(_parts(cost, platform))


def of(cost: Cost, platform: Platform) -> Energy:
    """Energy of a cost in cycles and bytes."""
    return Energy(*_parts(cost, platform))


def _parts(cost: Cost, platform: Platform) -> tuple[Any, ...]:
    seconds = cost.cycles / platform.cluster.clock_hz
    per_l2_byte = 0.0 if platform.l2 is None else platform.l2.joules_per_byte
    return (
        seconds * platform.power.active_watts,
        cost.dma_bytes * per_l2_byte,
        cost.storage_bytes * platform.storage.joules_per_byte,
        cost.external_bytes * platform.external.joules_per_byte,
    )


def efficient_joules(cost: Cost, platform: Platform, *, integer: bool) -> tuple[Any, Any] | None:
    """Joules of the chip by its makers' published efficiency, in place of a power of somebody's.

    Args:
        cost: Of passes that all compute in FP32, or all in int8.
        platform: The chip.
        integer: Whether they compute in int8.

    Returns:
        The least, for the multiply-accumulates alone; and an estimate, the time at the power that
        the efficiency means when the cores work as in their best kernel. Off-chip memories are in
        neither. None where nothing is published.
    """
    known = platform.efficiency
    if known is None:
        return None
    per_joule = known.int8_ops_per_joule if integer else known.fp32_ops_per_joule
    best = known.int8_mac_per_cycle if integer else known.fp32_mac_per_cycle
    return 2 * cost.work / per_joule, 2 * best * cost.cycles / per_joule


def lifetime_hours(
    event_seconds: float, event_joules: float, events_per_hour: int | float, platform: Platform
) -> float:
    """Hours of a full battery, learning so many events an hour and sleeping in between.

    Raises:
        ValueError: The rate is not positive, or events take longer than the time between them.
    """
    check_rate(events_per_hour)
    busy = event_seconds * events_per_hour / 3600
    if busy > 1:
        raise ValueError(
            f"{events_per_hour:g} events an hour need {busy:.2f} hours of work an hour; "
            f"at most {3600 / event_seconds:.3g} events an hour can be learned"
        )
    asleep = (1 - busy) * platform.power.sleep_watts * 3600
    return platform.battery.joules / (events_per_hour * event_joules + asleep)


def check_rate(events_per_hour: int | float) -> None:
    """Refuses what is not a rate.

    Raises:
        ValueError: It is not positive and finite.
    """
    if not 0 < events_per_hour < math.inf:
        raise ValueError(f"{events_per_hour} events an hour is not a rate; give a positive one")
