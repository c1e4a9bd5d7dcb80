"""Many chips at once: the same events on every variant of a platform, shared out over processes."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Sequence

import numpy as np

from pulpsim.cost.chip import FpuMap
from pulpsim.cost.platform import Platform, PlatformError
from pulpsim.cost.search import SLACK
from pulpsim.cost.tiling import DoesNotFit
from pulpsim.event import event
from pulpsim.event.setting import EventSetting

COARSE = 1.5  # neighbouring tile sizes nearer than this are left out


@dataclasses.dataclass(frozen=True)
class Variant:
    """A chip that differs from its platform file in what a designer would sweep."""

    cores: int
    l1_bytes: int
    dma_bus_bytes: int
    fpu_map: FpuMap

    def apply(self, base: Platform) -> Platform:
        """The same chip as a platform."""
        fpus = self.cores if self.fpu_map == "private" else min(base.cluster.fpus, self.cores)
        return base.replace(
            **{
                "cluster.cores": self.cores,
                "cluster.l1_bytes": self.l1_bytes,
                "dma.bus_bytes": self.dma_bus_bytes,
                "cluster.fpu_map": self.fpu_map,
                "cluster.fpus": fpus,
            }
        )


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """Figures of every event on every chip; infinite seconds and joules where one does not fit.

    Attributes:
        seconds: float64[events, chips].
        joules: float64[events, chips].
        macs_per_cycle: float64[events, chips].
    """

    seconds: np.ndarray
    joules: np.ndarray
    macs_per_cycle: np.ndarray


def sweep(
    settings: Sequence[EventSetting],
    base: Platform,
    variants: Sequence[Variant],
    *,
    ratio: float = COARSE,
    slack: float = SLACK,
    processes: int | None = None,
) -> SweepResult:
    """Costs of events on chips.

    Args:
        settings: The events.
        base: What the chips have in common.
        variants: The chips.
        ratio: See `event.event_costs`.
        slack: Likewise.
        processes: That share the chips; one a core of this machine unless given, 1 for none but
            this.

    Raises:
        PlatformError: The base is a Cortex-M, which has no such variants, or a variant is
            impossible.
    """
    if base.dma is None:
        raise PlatformError(f"{base.name} has no cluster to sweep; use a platform of ri5cy cores")
    chips = [variant.apply(base) for variant in variants]
    one = functools.partial(_on_one, tuple(settings), ratio, slack)
    count = min(len(chips), processes or os.cpu_count() or 1)
    if count <= 1:
        found = [one(chip) for chip in chips]
    else:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(count, context) as pool:
            found = list(pool.map(one, chips, chunksize=max(1, len(chips) // (4 * count))))
    table = np.asarray(found, np.float64)  # chips, events, figures
    return SweepResult(*(table[:, :, figure].T for figure in range(3)))


_NOT = (float("inf"), float("inf"), 0.0)


def _on_one(
    settings: tuple[EventSetting, ...], ratio: float, slack: float, chip: Platform
) -> list[tuple[float, float, float]]:
    """Seconds, joules and MAC/cycle of every event on one chip."""
    try:
        results = event.event_costs(settings, chip, ratio=ratio, slack=slack)
    except DoesNotFit:
        return [_one(setting, ratio, slack, chip) for setting in settings]
    return [(result.seconds, result.joules, result.macs_per_cycle) for result in results]


def _one(
    setting: EventSetting, ratio: float, slack: float, chip: Platform
) -> tuple[float, float, float]:
    try:
        result = event.event_cost(setting, chip, ratio=ratio, slack=slack)
    except DoesNotFit:
        return _NOT
    return result.seconds, result.joules, result.macs_per_cycle
