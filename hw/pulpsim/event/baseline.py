"""A chip beside the baseline microcontroller, a row a latent layer, nothing left out.

Two programmers' baselines stand side by side (`pulpsim.cost.cortex`): one takes over the chip's
loops, one writes for the microcontroller. Beside the chip's energy at the power that the paper
states stands one by the makers' published efficiency. And each row says what fits: into the chip's
memories, and into the microcontroller as it is sold, which has no off-chip RAM.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from pulpsim.cost import energy
from pulpsim.cost.platform import Platform
from pulpsim.cost.tiling import ZERO
from pulpsim.event import event
from pulpsim.event.event import EventCost
from pulpsim.event.setting import EventSetting

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Compared:
    """The same events on three platforms.

    Attributes:
        chip: Whose energy, time and memory are compared.
        same: The microcontroller with the chip's loops.
        competent: The same microcontroller with loops of its own.
    """

    chip: tuple[EventCost, ...]
    same: tuple[EventCost, ...]
    competent: tuple[EventCost, ...]


def compare(
    settings: Sequence[EventSetting], chip: Platform, same: Platform, competent: Platform
) -> Compared:
    """Costs of events that differ in their latent layer; platforms as in `Compared`.

    Raises:
        ValueError: There are no events.
    """
    if not settings:
        raise ValueError("a comparison needs at least one event")
    return Compared(*(tuple(event.event_costs(settings, one)) for one in (chip, same, competent)))


def rows(results: Compared) -> list[Row]:
    """A row for every event; means over all, without the last layer, and over those that fit."""
    three = zip(results.chip, results.same, results.competent, strict=True)
    found = [_row(*one) for one in three]
    last = max(row["latent_layer"] for row in found)
    return [
        *found,
        _mean("mean", found, lambda row: True),
        _mean(f"mean without {last}", found, lambda row: row["latent_layer"] != last),
        _mean("mean of those that fit", found, lambda row: row["fits"]),
    ]


def _row(ours: EventCost, same: EventCost, competent: EventCost) -> Row:
    bare = bare_bytes(competent)
    sram = competent.platform.cluster.l1_bytes
    flash = competent.platform.storage.storage_bytes
    least, estimate = _efficient(ours)
    chip_joules = ours.energy.chip_joules
    ram_joules = ours.joules - chip_joules
    row: Row = {
        "latent_layer": ours.setting.latent_layer,
        "event_s": ours.seconds,
        "event_J": ours.joules,
        "chip_J": chip_joules,
        "chip_by_efficiency_J": estimate,
        "chip_least_J": least,
        "fits": ours.memory.fits,
        "baseline_flash_bytes": bare["flash"],
        "baseline_ram_bytes": bare["ram"],
        "baseline_fits_alone": bare["flash"] <= flash and bare["ram"] <= sram,
    }
    for name, other in (("same_loops", same), ("competent", competent)):
        row[f"{name}_time_ratio"] = other.seconds / ours.seconds
        row[f"{name}_chip_energy_ratio"] = other.energy.chip_joules / chip_joules
        row[f"{name}_energy_ratio"] = other.joules / ours.joules
        by_efficiency = None if estimate is None else other.joules / (estimate + ram_joules)
        row[f"{name}_energy_ratio_by_efficiency"] = by_efficiency
    return row


def ram_energy(
    results: Compared, picojoules: Sequence[int | float] = tuple(range(200, 901, 100))
) -> list[Row]:
    """Mean energy ratios, RAM included, if a byte of the off-chip RAM of all took so many pJ.

    What moves stays as it was chosen for the platforms' own figure.
    """
    found = []
    for each in picojoules:
        ours = [_joules(one, each) for one in results.chip]
        row: Row = {"external_pJ_per_byte": each, "event_J": sum(ours) / len(ours)}
        for name, others in (("same_loops", results.same), ("competent", results.competent)):
            ratios = [_joules(slow, each) / fast for slow, fast in zip(others, ours, strict=True)]
            row[f"{name}_energy_ratio"] = sum(ratios) / len(ratios)
        found.append(row)
    return found


def _joules(result: EventCost, picojoules: int | float) -> float:
    """All joules, with so many pJ for a byte of the off-chip RAM."""
    inside = result.joules - result.energy.external_joules
    return inside + result.cost.external_bytes * picojoules * 1e-12


def bare_bytes(result: EventCost) -> dict[str, int]:
    """Bytes that a chip without any off-chip memory needs: constants in flash, the rest in RAM."""
    stored = result.memory.used_bytes("storage")
    return {"flash": stored, "ram": result.memory.learning_bytes - stored}


def _efficient(result: EventCost) -> tuple[float | None, float | None]:
    """Joules of the chip by published efficiency: for the work alone, and for the time it takes."""
    least, estimate = 0.0, 0.0
    for integer in (True, False):
        some = [row.cost for row in result.passes if (row.scheduled.step == "frozen") == integer]
        parts = energy.efficient_joules(sum(some, ZERO), result.platform, integer=integer)
        if parts is None:
            return None, None
        least, estimate = least + parts[0], estimate + parts[1]
    return float(least), float(estimate)


def _mean(name: str, found: list[Row], wanted: Callable[[Row], bool]) -> Row:
    some = [row for row in found if wanted(row)]
    means: Row = {"latent_layer": name}
    for key in found[0]:
        if key == "latent_layer":
            continue
        values = [row[key] for row in some]
        plain = values and all(isinstance(one, float) for one in values)
        means[key] = sum(values) / len(values) if plain and key.endswith(_AVERAGED) else None
    return means


_AVERAGED = ("_ratio", "_by_efficiency")
