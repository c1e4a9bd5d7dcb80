"""The cost of a learning event: seconds, joules and bytes, by pass, layer and part.

`event_cost` tiles every pass of the event's schedule by exhaustive search and adds them up: passes
run one after another, so an event is the sum of its layers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pulpsim.cost import energy
from pulpsim.cost.energy import Energy
from pulpsim.cost.machine import Machine, l2_free_bytes, machine
from pulpsim.cost.planes import Flat, Planes
from pulpsim.cost.platform import Platform, load
from pulpsim.cost.products import Product
from pulpsim.cost.tiling import ZERO, Cost, choose
from pulpsim.event import memory, schedule
from pulpsim.event.layers import Pass
from pulpsim.event.memory import MemoryPlan
from pulpsim.event.schedule import Scheduled
from pulpsim.event.setting import EventSetting

RATIO = 1.2
SLACK = 0.01
ADAPTIVE_STEPS = frozenset(
    {
        "forward",
        "normalise",
        "norm sums",
        "norm gradient",
        "weight gradient",
        "input gradient",
        "pool",
        "loss",
        "update",
        "replay read",
    }
)


@dataclasses.dataclass(frozen=True)
class PassCost:
    """A scheduled pass with its tile and the cost of all its runs."""

    scheduled: Scheduled
    tile: tuple[int, ...]
    cost: Cost
    energy: Energy


@dataclasses.dataclass(frozen=True)
class EventCost:
    """What an event costs on a platform.

    Attributes:
        setting: The event.
        platform: The chip.
        passes: Cost of every pass, in order.
        memory: What lives where.
    """

    setting: EventSetting
    platform: Platform
    passes: tuple[PassCost, ...]
    memory: MemoryPlan

    def select(self, **wanted: Any) -> "EventCost":
        """Only passes of a layer or step: `select(layer=20)`, `select(step="forward")`."""
        kept = tuple(
            row
            for row in self.passes
            if all(getattr(row.scheduled, key) == value for key, value in wanted.items())
        )
        return dataclasses.replace(self, passes=kept)

    @property
    def adaptive(self) -> "EventCost":
        """Only the training part."""
        kept = tuple(row for row in self.passes if row.scheduled.step in ADAPTIVE_STEPS)
        return dataclasses.replace(self, passes=kept)

    @property
    def cost(self) -> Cost:
        """Cycles and bytes in all."""
        return sum((row.cost for row in self.passes), ZERO)

    @property
    def energy(self) -> Energy:
        """Joules in all, by part."""
        return sum((row.energy for row in self.passes), Energy())

    @property
    def seconds(self) -> float:
        """Time in all."""
        return self.cost.cycles / self.platform.cluster.clock_hz

    @property
    def joules(self) -> float:
        """Energy in all."""
        return self.energy.total_joules

    @property
    def watts(self) -> float:
        """Average power while busy."""
        return self.joules / self.seconds

    @property
    def macs(self) -> float:
        """Multiply-accumulates in all."""
        return self.cost.work

    @property
    def macs_per_cycle(self) -> float:
        """Average over everything, transfers included."""
        cost = self.cost
        return cost.work / cost.cycles

    def lifetime_hours(self, events_per_hour: int | float) -> float:
        """Hours of battery; see `energy.lifetime_hours`."""
        return energy.lifetime_hours(self.seconds, self.joules, events_per_hour, self.platform)


class Costs:
    """Tile searches on one machine, each distinct pass searched once."""

    def __init__(self, chip: Machine, ratio: float = RATIO, slack: float = SLACK) -> None:
        """See `tiling.sizes` and `tiling.choose`."""
        self.machine = chip
        self.ratio = ratio
        self.slack = slack
        self._found: dict[Pass, tuple[tuple[int, ...], Cost]] = {}

    def __call__(self, work: Pass) -> tuple[tuple[int, ...], Cost]:
        """The cheapest tile of a pass and its cost.

        Raises:
            DoesNotFit: No tile fits into L1.
        """
        if work not in self._found:
            tiles = work.candidates(self.ratio)
            cost = work.cost(self.machine, *tiles)
            best = choose(cost, self.machine, _describe(work), self.slack)
            self._found[work] = tuple(int(axis[best]) for axis in tiles), cost.at(best)
        return self._found[work]


def event_cost(
    setting: EventSetting, platform: Platform, *, ratio: float = RATIO, slack: float = SLACK
) -> EventCost:
    """Cost of one learning event; arguments as `event_costs`."""
    return event_costs([setting], platform, ratio=ratio, slack=slack)[0]


def event_costs(
    settings: Sequence[EventSetting],
    platform: Platform,
    *,
    ratio: float = RATIO,
    slack: float = SLACK,
) -> list[EventCost]:
    """Costs of learning events on one chip; passes that they share are searched once.

    Args:
        settings: The events.
        platform: The chip.
        ratio: At 1 every even split is tried as a tile size; above, neighbours nearer than this
            are left out.
        slack: How much slower than the fastest a tile may be that moves less data.

    Raises:
        DoesNotFit: A layer has no tile that fits into L1.
    """
    searches: dict[float, Costs] = {}

    def search(work: Pass, l2_bytes: float) -> tuple[tuple[int, ...], Cost]:
        staged = staged_bytes(work, l2_bytes)
        if staged not in searches:
            searches[staged] = Costs(machine(platform, l2_bytes=staged), ratio, slack)
        return searches[staged](work)

    return [_cost(setting, platform, search) for setting in settings]


def staged_bytes(work: Pass, l2_bytes: float) -> float:
    """The least L2 that serves a pass as well as `l2_bytes` do, so that equal passes are shared."""
    return work.staged_bytes(l2_bytes) if isinstance(work, Product) else 0.0


def _cost(
    setting: EventSetting,
    platform: Platform,
    search: Callable[[Pass, float], tuple[tuple[int, ...], Cost]],
) -> EventCost:
    plan = memory.plan(setting, platform)
    free = float(l2_free_bytes(platform))
    found = []
    for row in schedule.event(setting, plan):
        before = row.step in ("frozen", "latent write")
        tile, cost = search(row.work, free if before else float(plan.l2_left_bytes))
        whole = cost.times(row.count)
        found.append(PassCost(row, tile, whole, energy.of(whole, platform)))
    return EventCost(setting, platform, tuple(found), plan)


@dataclasses.dataclass(frozen=True)
class EventSummary:
    """One event in seven figures, for a session's last lines."""

    platform: str
    seconds: float
    joules: float
    watts: float
    macs_per_cycle: float
    memory_bytes: int
    fits_memory: bool
    unproven: tuple[str, ...]


def event_cost_summary(setting: EventSetting, platform: str | Path = "vega") -> EventSummary:
    """The simulated cost of one event, as the tables of `qlrjax hw event` have it.

    Args:
        setting: The event.
        platform: Name or path of a platform.

    Returns:
        The figures; `unproven` names the platform values behind them that are recalled or assumed.
    """
    chip = load(platform)
    result = event_cost(setting, chip)
    behind = (
        "cluster.clock_hz",
        "power.active_watts",
        "external.bytes_per_s",
        "external.joules_per_byte",
        "storage.read_bytes_per_s",
    )
    return EventSummary(
        chip.name,
        result.seconds,
        result.joules,
        result.watts,
        result.macs_per_cycle,
        result.memory.learning_bytes,
        result.memory.fits,
        tuple(path for path in behind if chip.is_unproven(path)),
    )


def _describe(work: Pass) -> str:
    """A pass in words, for messages."""
    match work:
        case Product():
            return f"{work.kernel} on {work.n} x {work.k} x {work.m}"
        case Planes():
            kernels = " and ".join(call.kernel for call in work.calls)
            return f"{kernels} on {work.channels} channels of {work.rows} rows"
        case Flat():
            return f"{' and '.join(work.kernels) or 'a copy'} of {work.elements} elements"
        case _:
            return f"{work.kernel} on {work.n} x {work.k}"
