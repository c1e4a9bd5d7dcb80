"""The cost of a learning event: seconds, joules and bytes, by pass, layer and part.

`event_cost` tiles every pass of the event's schedule by exhaustive search and adds them up: passes
run one after another, so an event is the sum of its layers.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pulpsim.cost import blocks, energy
from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Blocked
from pulpsim.cost.energy import Energy
from pulpsim.cost.machine import l2_free_bytes, machine
from pulpsim.cost.platform import Platform, load
from pulpsim.cost.products import Product
from pulpsim.cost.search import RATIO, SLACK, Costs
from pulpsim.cost.tiling import ZERO, Cost
from pulpsim.event import blocked, memory, schedule
from pulpsim.event.blocked import Blockwise
from pulpsim.event.layers import AnyPass, Pass
from pulpsim.event.memory import MemoryPlan
from pulpsim.event.schedule import Scheduled
from pulpsim.event.setting import EventSetting

ADAPTIVE_STEPS = frozenset(
    {
        "forward",
        "normalise",
        "norm sums",
        "norm gradient",
        "weight gradient",
        "input gradient",
        "both gradients",
        "add",
        "window pool",
        "pool",
        "pool gradient",
        "add gradient",
        "window pool gradient",
        "loss",
        "update",
        "replay read",
    }
)


@dataclasses.dataclass(frozen=True)
class PassCost:
    """A scheduled pass with its tile, the cost of all its runs, and its blocks if it has any."""

    scheduled: Scheduled
    tile: tuple[int, ...]
    cost: Cost
    energy: Energy
    blocked: Blocked | None = None


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
    search = _Search(platform, ratio, slack)
    return [_cost(setting, search) for setting in settings]


class _Search:
    """Tiles and blocks of one chip, each distinct pass searched once."""

    def __init__(self, platform: Platform, ratio: float, slack: float) -> None:
        self.platform = platform
        self.settings = ratio, slack
        self.block_bytes = blocks.block_bytes(platform)
        self._costs: dict[float, Costs] = {}
        self._blocked: dict[BlockedProduct | BlockedPlanes, Blocked] = {}

    def costs(self, l2_bytes: float) -> Costs:
        if l2_bytes not in self._costs:
            chip = machine(self.platform, l2_bytes=l2_bytes)
            self._costs[l2_bytes] = Costs(chip, *self.settings)
        return self._costs[l2_bytes]

    def tile(self, work: Pass, l2_bytes: float) -> tuple[tuple[int, ...], Cost]:
        return self.costs(staged_bytes(work, l2_bytes))(work)

    def blocked(self, work: BlockedProduct | BlockedPlanes) -> Blocked:
        if work not in self._blocked:
            self._blocked[work] = work.search(self.costs(0.0), self.block_bytes)
        return self._blocked[work]

    def cheapest(self, ways: list[list[Blockwise]]) -> list[Blockwise]:
        """Of several ways to do the same, the one with the fewest joules."""

        def joules(way: list[Blockwise]) -> float:
            found = [self.cost(row.work).cost for row in way]
            return sum(float(energy.joules(cost, self.platform)) for cost in found)

        return min(ways, key=joules)

    def cost(self, work: AnyPass, l2_bytes: float = 0.0) -> Blocked:
        """Of one run of any pass; one without blocks holds nothing."""
        if isinstance(work, BlockedProduct | BlockedPlanes):
            return self.blocked(work)
        tile, cost = self.tile(work, l2_bytes)
        return Blocked("", (), tile, (), cost)


def staged_bytes(work: Pass, l2_bytes: float) -> float:
    """The least L2 that serves a pass as well as `l2_bytes` do, so that equal passes are shared."""
    return work.staged_bytes(l2_bytes) if isinstance(work, Product) else 0.0


def _cost(setting: EventSetting, search: _Search) -> EventCost:
    platform = search.platform
    if setting.schedule == "blocked":
        # The frozen stage first, so that a network that is too large is refused by its first layer.
        plan = memory.blocked_plan(setting, platform, [])
        found = _passes(schedule.frozen(setting, plan), search, l2_free_bytes(platform))
        steps = blocked.minibatch(setting, search.cheapest)
        plan = memory.blocked_plan(setting, platform, steps)
        found += _passes(schedule.blocked(setting, steps), search, 0)
    else:
        plan = memory.plan(setting, platform)
        found = _passes(schedule.frozen(setting, plan), search, l2_free_bytes(platform))
        found += _passes(schedule.training(setting, plan), search, plan.l2_left_bytes)
    return EventCost(setting, platform, tuple(found), plan)


def _passes(rows: list[Scheduled], search: _Search, l2_bytes: int) -> list[PassCost]:
    found = []
    for row in rows:
        once = search.cost(row.work, float(l2_bytes))
        whole = once.cost.times(row.count)
        shown = once if once.buffers else None
        found.append(PassCost(row, once.tile, whole, energy.of(whole, search.platform), shown))
    return found


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
