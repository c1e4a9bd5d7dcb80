"""The cost of a learning event: seconds, joules and bytes, by pass, layer and part.

`event_cost` tiles every pass of the event's schedule by exhaustive search and adds them up: passes
run one after another, so an event is the sum of its layers.
"""

import dataclasses
from typing import Any

from pulpsim import energy, memory, schedule
from pulpsim.energy import Energy
from pulpsim.layers import Pass
from pulpsim.machine import Machine, machine
from pulpsim.memory import MemoryPlan
from pulpsim.platform import Platform, load
from pulpsim.schedule import Scheduled
from pulpsim.setting import EventSetting, Statistics
from pulpsim.tiling import ZERO, Cost, choose
from qlrjax.network import mobilenet_v1

ADAPTIVE_STEPS = frozenset(
    {"forward", "normalise", "norm sums", "norm gradient", "weight gradient", "input gradient",
     "pool", "loss", "update", "replay read"}
)  # fmt: skip


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
            row for row in self.passes
            if all(getattr(row.scheduled, key) == value for key, value in wanted.items())
        )  # fmt: skip
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

    def lifetime_hours(self, events_per_hour: float) -> float:
        """Hours of battery; see `energy.lifetime_hours`."""
        return energy.lifetime_hours(self.seconds, self.joules, events_per_hour, self.platform)


class Costs:
    """Tile searches on one machine, each distinct pass searched once."""

    def __init__(self, chip: Machine, ratio: float = 1.0) -> None:
        """`ratio` above 1 thins out the candidate tiles; see `tiling.sizes`."""
        self.machine = chip
        self.ratio = ratio
        self._found: dict[Pass, tuple[tuple[int, ...], Cost]] = {}

    def __call__(self, work: Pass) -> tuple[tuple[int, ...], Cost]:
        """The cheapest tile of a pass and its cost.

        Raises:
            DoesNotFit: No tile fits into L1.
        """
        if work not in self._found:
            tiles = work.candidates(self.ratio)
            cost = work.cost(self.machine, *tiles)
            best = choose(cost, self.machine, _describe(work))
            self._found[work] = tuple(int(axis[best]) for axis in tiles), cost.at(best)
        return self._found[work]


def event_cost(setting: EventSetting, platform: Platform, *, ratio: float = 1.0) -> EventCost:
    """Cost of one learning event.

    Args:
        setting: The event.
        platform: The chip.
        ratio: Above 1, candidate tiles are thinned out: faster, at most as good.

    Raises:
        DoesNotFit: A layer has no tile that fits into L1.
    """
    plan = memory.plan(setting, platform)
    training = Costs(machine(platform, l2_bytes=float(plan.l2_left_bytes)), ratio)
    inference = Costs(machine(platform), ratio)
    found = []
    for row in schedule.event(setting, plan):
        costs = inference if row.step in ("frozen", "latent write") else training
        tile, cost = costs(row.work)
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


def event_cost_summary(
    latent_layer: int,
    replays: int,
    bits: int,
    images_per_event: int,
    epochs: int,
    width: float = 1.0,
    resolution: int | tuple[int, int] = 128,
    platform: str = "vega",
    *,
    classes: int = 50,
    minibatch: int = 128,
    statistics: Statistics = "minibatch",
) -> EventSummary:
    """The simulated cost of one event of MobileNet-V1, as the tables of `qlrjax hw event` have it.

    Args:
        latent_layer: First trained layer.
        replays: Slots of the replay memory.
        bits: Width of a stored code.
        images_per_event: New images.
        epochs: Passes over them.
        width: Channel multiplier.
        resolution: Of the images, pixels.
        platform: Name or path of a platform.
        classes: Logits.
        minibatch: New and replayed latents together.
        statistics: See `EventSetting`.

    Returns:
        The figures; `unproven` names the platform values behind them that are recalled or assumed.
    """
    chip = load(platform)
    network = mobilenet_v1(width, resolution, classes)
    setting = EventSetting(
        network, latent_layer, replays, bits, images_per_event, epochs, minibatch,
        statistics=statistics,
    )  # fmt: skip
    result = event_cost(setting, chip, ratio=1.15)
    behind = ("cluster.clock_hz", "power.active_watts", "external.bytes_per_s",
              "external.joules_per_byte", "storage.read_bytes_per_s")  # fmt: skip
    return EventSummary(
        chip.name, result.seconds, result.joules, result.watts, result.macs_per_cycle,
        result.memory.learning_bytes, result.memory.fits,
        tuple(path for path in behind if chip.is_unproven(path)),
    )  # fmt: skip


def _describe(work: Pass) -> str:
    names = {key: value for key, value in vars(work).items() if isinstance(value, int | str)}
    return f"{type(work).__name__}({', '.join(f'{key}={value}' for key, value in names.items())})"
