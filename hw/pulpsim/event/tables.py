"""Results as rows of plain values, with the unit in every key: what tables, CSV and JSON show."""

from typing import Any

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.linear import Linear
from pulpsim.cost.planes import Flat, Planes
from pulpsim.cost.platform import Platform
from pulpsim.cost.products import Product
from pulpsim.cost.tiling import Place
from pulpsim.event.event import EventCost, PassCost
from pulpsim.event.layers import AnyPass

Row = dict[str, Any]
ENERGY_PATHS = (
    "power.active_watts",
    "l2.joules_per_byte",
    "storage.joules_per_byte",
    "external.joules_per_byte",
)
TIME_PATHS = (
    "cluster.clock_hz",
    "cluster.fpu_map",
    "cortex_m7.around_cycles",
    "caches.fill_cycles",
    "caches.evict_cycles",
    "external.bytes_per_s",
    "storage.read_bytes_per_s",
)
BATTERY_PATHS = ("battery.charge_mah", "battery.volts", "power.sleep_watts")


def unproven(platform: Platform, *paths: str) -> list[str]:
    """Of these values, those that are recalled or assumed, as "key = value (status)"."""
    found = []
    for path in paths:
        section, _, key = path.partition(".")
        part = getattr(platform, section)
        if part is not None and platform.is_unproven(path):
            value = getattr(part, key)
            shown = f"{value:g}" if isinstance(value, int | float) else value
            status = platform.provenance[path].status
            found.append(f"{platform.name} {path} = {shown} ({status})")
    return found


def steps(result: EventCost) -> list[Row]:
    """An event by step: frozen forward, replay reads, forward, gradients, updates, writes."""
    names = list(dict.fromkeys(row.scheduled.step for row in result.passes))
    return [_total(result.select(step=name), {"step": name}) for name in names]


def layers(result: EventCost) -> list[Row]:
    """An event by layer of the network; what belongs to no layer comes last."""
    seen = list(dict.fromkeys(row.scheduled.layer for row in result.passes))
    rows = []
    for index in sorted(seen, key=lambda layer: (layer < 0, layer)):
        part = result.select(layer=index)
        name = part.passes[0].scheduled.name if index >= 0 else "parameters and replays"
        rows.append(_total(part, {"layer": index if index >= 0 else None, "name": name}))
    return rows


def passes(result: EventCost) -> list[Row]:
    """Every pass: its kernel, its tile, and one run of it."""
    return [_pass(row, result.platform) for row in result.passes]


def memory(result: EventCost) -> list[Row]:
    """What lives where, in bytes."""
    label = {
        "l2": "L2",
        "external": result.platform.external.kind,
        "storage": result.platform.storage.kind,
    }
    plan = result.memory
    rows: list[Row] = [
        {
            "tensor": row.name + (" (before training)" if row.reused else ""),
            "memory": label[row.place],
            "bytes": row.size_bytes,
        }
        for row in plan.tensors
    ]
    capacities: dict[Place, int] = {
        "external": plan.external_bytes,
        "storage": plan.storage_bytes,
    }
    for place, capacity in capacities.items():
        used = plan.used_bytes(place)
        state = "fits" if used <= capacity else "does not fit"
        rows.append(
            {
                "tensor": f"in all, of {capacity} bytes: {state}",
                "memory": label[place],
                "bytes": used,
            }
        )
    return rows


def summary(result: EventCost, events_per_hour: int | float) -> Row:
    """An event in one row."""
    parts = result.energy
    feasible = events_per_hour * result.seconds <= 3600
    return {
        "platform": result.platform.name,
        "latent_layer": result.setting.latent_layer,
        "replays": result.setting.replays,
        "bits": result.setting.bits,
        "statistics": result.setting.statistics,
        "schedule": result.setting.schedule,
        "maps": result.setting.maps,
        "event_s": result.seconds,
        "training_s": result.adaptive.seconds,
        "frozen_s": result.select(step="frozen").seconds,
        "event_J": parts.total_joules,
        "chip_J": parts.chip_joules,
        "l2_J": parts.l2_joules,
        "storage_J": parts.storage_joules,
        "external_J": parts.external_joules,
        "power_W": result.watts,
        "mac_per_cycle": result.macs_per_cycle,
        "training_mac_per_cycle": result.adaptive.macs_per_cycle,
        "memory_bytes": result.memory.learning_bytes,
        "fits": result.memory.fits,
        "events_per_hour": events_per_hour,
        "lifetime_h": result.lifetime_hours(events_per_hour) if feasible else None,
    }


def comparison(results: list[list[EventCost]]) -> list[Row]:
    """Two chips or more, by latent layer; ratios are of the later ones to the first.

    Args:
        results: One list per chip, with equal settings in equal order.
    """
    rows = []
    for ours in zip(*results, strict=True):
        first = ours[0]
        row: Row = {
            "latent_layer": first.setting.latent_layer,
            "statistics": first.setting.statistics,
            "memory_MB": first.memory.learning_bytes / 1e6,
            "fits": first.memory.fits,
        }
        for result in ours:
            name = result.platform.name
            row[f"{name}_event_s"] = result.seconds
            row[f"{name}_event_J"] = result.joules
            row[f"{name}_mac_per_cycle"] = result.macs_per_cycle
            row[f"{name}_W"] = result.watts
        for other in ours[1:]:
            name = other.platform.name
            row[f"{name}_time_ratio"] = other.seconds / first.seconds
            row[f"{name}_training_time_ratio"] = other.adaptive.seconds / first.adaptive.seconds
            row[f"{name}_energy_ratio"] = other.joules / first.joules
            row[f"{name}_chip_energy_ratio"] = other.energy.chip_joules / first.energy.chip_joules
        rows.append(row)
    return rows


def means(rows: list[Row]) -> list[Row]:
    """Rows behind a comparison: the mean of all, without the linear layer alone, of what fits."""
    last = max(row["latent_layer"] for row in rows)
    kept = {
        "mean": rows,
        f"mean without {last}": [row for row in rows if row["latent_layer"] != last],
        "mean of what fits": [row for row in rows if row["fits"]],
    }
    found = []
    for name, some in kept.items():
        if some:
            values = {key: _mean([row[key] for row in some]) for key in rows[0]}
            found.append({**values, "latent_layer": name})
    return found


def _mean(values: list[Any]) -> float | str | bool | None:
    """Of numbers; texts stay if all agree."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return sum(values) / len(values)
    return values[0] if len(set(values)) == 1 else None


def _total(part: EventCost, head: Row) -> Row:
    cost, parts = part.cost, part.energy
    return {
        **head,
        "s": part.seconds,
        "J": parts.total_joules,
        "MMAC": cost.work / 1e6,
        "mac_per_cycle": cost.work / cost.cycles if cost.cycles else 0.0,
        "compute_share": cost.compute_cycles / cost.cycles if cost.cycles else 0.0,
        "l2_l1_MB": cost.dma_bytes / 1e6,
        "storage_MB": cost.storage_bytes / 1e6,
        "external_MB": cost.external_bytes / 1e6,
    }


def _pass(row: PassCost, platform: Platform) -> Row:
    cost = row.cost.times(1 / row.scheduled.count)
    busy = {
        "compute": cost.compute_cycles,
        "DMA": cost.dma_cycles,
        "outside": cost.outside_cycles,
    }
    return {
        "layer": row.scheduled.layer if row.scheduled.layer >= 0 else None,
        "name": row.scheduled.name,
        "step": row.scheduled.step,
        "kernels": " ".join(_kernels(row.scheduled.work)) or "copy",
        "stays": row.blocked.stationary if row.blocked else None,
        "block": "x".join(map(str, row.blocked.block)) if row.blocked else None,
        "tile": "x".join(map(str, row.tile)),
        "runs": row.scheduled.count,
        "cycles": cost.cycles,
        "us": cost.cycles / platform.cluster.clock_hz * 1e6,
        "mac_per_cycle": cost.work / cost.cycles,
        "bound": max(busy, key=lambda part: busy[part]),
        "l1_bytes": cost.l1_bytes,
        "l2_bytes": row.blocked.held_bytes if row.blocked else None,
        "dma_bytes": cost.dma_bytes,
        "external_bytes": cost.external_bytes,
    }


def _kernels(work: AnyPass) -> tuple[str, ...]:
    match work:
        case BlockedPlanes():
            return tuple(dict.fromkeys(work.kernels))
        case BlockedProduct():
            return (work.kernel,)
        case Product():
            return (work.kernel, *work.fused)
        case Planes():
            return tuple(call.kernel for call in work.calls)
        case Flat():
            return work.kernels
        case Linear():
            return (work.kernel,)
