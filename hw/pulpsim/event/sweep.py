"""Thousands of chips at once: the cost functions of the passes, `vmap`ped over settings.

Every distinct pass of the events is traced once; cores, L1 size, DMA width and stall rates are
arrays with one entry per chip. The choice of tiles is that of `tiling.choose`, in float32.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pulpsim.cost import contention, energy
from pulpsim.cost.chip import FpuMap
from pulpsim.cost.machine import Machine, l2_free_bytes
from pulpsim.cost.platform import Platform, PlatformError
from pulpsim.cost.tiling import Cost
from pulpsim.event import memory, schedule
from pulpsim.event.event import RATIO, SLACK, staged_bytes
from pulpsim.event.layers import Pass
from pulpsim.event.setting import EventSetting


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
    """Figures of every event on every chip; infinite where a layer does not fit into L1.

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
    ratio: float = RATIO,
    slack: float = SLACK,
) -> SweepResult:
    """Costs of events on chips.

    Args:
        settings: The events.
        base: What the chips have in common.
        variants: The chips.
        ratio: See `event.event_costs`.
        slack: Likewise.

    Raises:
        PlatformError: The base is a Cortex-M, which has no such variants, or a variant is
            impossible.
    """
    if base.dma is None:
        raise PlatformError(f"{base.name} has no cluster to sweep; use a platform of ri5cy cores")
    chips = _arrays([variant.apply(base) for variant in variants])
    free = float(l2_free_bytes(base))
    found: dict[tuple[Pass, float], Cost] = {}
    totals = []
    for setting in settings:
        plan = memory.plan(setting, base)
        parts = []
        for row in schedule.event(setting, plan):
            before = row.step in ("frozen", "latent write")
            l2_bytes = free if before else float(plan.l2_left_bytes)
            key = row.work, staged_bytes(row.work, l2_bytes)
            if key not in found:
                found[key] = _best(row.work, base, chips, key[1], ratio, slack)
            parts.append(found[key].times(row.count))
        totals.append(_sum(parts))
    seconds = np.stack([total.cycles / base.cluster.clock_hz for total in totals])
    joules = np.stack([energy.joules(total, base) for total in totals])
    return SweepResult(seconds, joules, np.stack([t.work / t.cycles for t in totals]))


Chips = dict[str, Any]


def _arrays(platforms: Sequence[Platform]) -> Chips:
    rates = [contention.stall_rates(chip.cluster) for chip in platforms]

    def column(values: Sequence[int | float]) -> Array:
        return jnp.asarray(np.asarray(values, np.float32))

    return {
        "cores": column([chip.cluster.cores for chip in platforms]),
        "l1": column(
            [chip.cluster.l1_bytes - chip.cluster.l1_reserved_bytes for chip in platforms]
        ),
        "bus": column([chip.dma.bus_bytes for chip in platforms if chip.dma]),
        "rates": {name: column([rate[name] for rate in rates]) for name in rates[0]},
    }


def _best(
    work: Pass, base: Platform, chips: Chips, l2_bytes: float, ratio: float, slack: float
) -> Cost:
    """The best tile of a pass on every chip."""
    numbers: list[float] = []
    structure = _take_apart(work, numbers)
    tiles = np.stack(work.candidates(ratio)).astype(np.float32)
    # Few array sizes, so that passes of one structure share one compiled program.
    room = 64 * 4 ** max(0, math.ceil(math.log(tiles.shape[1] / 64, 4)))
    tiles = np.pad(tiles, ((0, 0), (0, room - tiles.shape[1])), mode="edge")
    values = jnp.asarray(np.asarray([l2_bytes, *numbers], np.float32))
    best = _compiled(structure, base, slack, chips, values, jnp.asarray(tiles))
    return Cost(**{key: np.asarray(value, np.float64) for key, value in best.items()})


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(
    structure: Any,
    base: Platform,
    slack: float,
    chips: Chips,
    values: Float[Array, " numbers"],
    tiles: Float[Array, "axes candidates"],
) -> dict[str, Array]:
    def one(chip: Chips) -> dict[str, Array]:
        traced = Machine(
            base, jnp, chip["cores"], chip["l1"], base.dma, values[0], chip["rates"], chip["bus"]
        )
        work = _put_together(structure, values[1:])
        return _pick(work.cost(traced, *tiles), chip["l1"], slack)

    # In turn, or the candidates of all chips would be in memory at once.
    return jax.lax.map(one, chips, batch_size=16)


def _take_apart(value: Any, numbers: list[float]) -> Any:
    """A hashable skeleton of a pass; its numbers other than 0, on which nothing branches."""
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return type(value), tuple(_take_apart(field, numbers) for field in fields)
    if isinstance(value, tuple):
        return tuple, tuple(_take_apart(part, numbers) for part in value)
    if isinstance(value, bool | str) or value == 0:
        return None, value
    numbers.append(float(value))
    return int, len(numbers) - 1


def _put_together(structure: Any, numbers: Float[Array, " numbers"]) -> Any:
    kind, parts = structure
    if kind is None:
        return parts
    if kind is int:
        return numbers[parts]
    values = [_put_together(part, numbers) for part in parts]
    return tuple(values) if kind is tuple else kind(*values)


def _pick(cost: Cost, l1_bytes: Float[Array, ""], slack: float) -> dict[str, Array]:
    shape = cost.cycles.shape
    fields = {
        field.name: jnp.broadcast_to(jnp.asarray(getattr(cost, field.name), jnp.float32), shape)
        for field in dataclasses.fields(Cost)
    }
    good = fields["l1_bytes"] <= l1_bytes
    fits = good.any()
    keys = (
        (fields["cycles"], slack),
        (fields["external_bytes"] + fields["storage_bytes"], 1e-6),
        (fields["dma_bytes"], 1e-6),
        (fields["compute_cycles"] + fields["dma_cycles"], 0.0),
    )
    for values, tolerance in keys:
        kept = jnp.where(good, values, jnp.inf)
        good = good & (kept <= kept.min() * (1 + tolerance))
    best = jnp.argmax(good)
    picked = {name: values[best] for name, values in fields.items()}
    picked["cycles"] = jnp.where(fits, picked["cycles"], jnp.inf)
    return picked


def _sum(costs: Sequence[Cost]) -> Cost:
    def added(name: str) -> Any:
        return sum(getattr(cost, name) for cost in costs)

    return Cost(*(added(field.name) for field in dataclasses.fields(Cost)))
