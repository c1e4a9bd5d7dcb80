"""Figures of what an event costs on the simulated chip: memory, time, energy, battery."""

from collections.abc import Sequence

import numpy as np
from pulpsim.event import tables
from pulpsim.event.event import EventCost

from qlrjax.lab.page.assemble import Figure

_LEAST_SHARE = 0.001


def memory(result: EventCost) -> Figure:
    """Bytes by part, against what the chip has."""
    plan = result.memory
    label = {
        "l2": "L2",
        "external": result.platform.external.kind,
        "storage": result.platform.storage.kind,
    }
    rows = [
        {"part": row.name, "memory": label[row.place], "mb": round(row.size_bytes / 1e6, 4)}
        for row in plan.tensors
        if not row.reused
    ]
    capacities = [
        {"memory": label["external"], "mb": plan.external_bytes / 1e6},
        {"memory": label["storage"], "mb": plan.storage_bytes / 1e6},
    ]
    where = {"field": "memory", "type": "nominal", "title": None}
    bars = {
        "data": {"values": rows},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "y": where,
            "x": {"field": "mb", "type": "quantitative", "title": "MB", "stack": "zero"},
            "color": {
                "field": "part",
                "type": "nominal",
                "title": None,
                "scale": {"scheme": "tableau20"},
                "legend": {"orient": "bottom", "columns": 2, "labelLimit": 220},
            },
        },
    }
    strokes = {
        "data": {"values": capacities},
        "mark": {"type": "tick", "color": "#d0533c", "thickness": 3, "height": 40, "tooltip": True},
        "encoding": {"y": where, "x": {"field": "mb", "type": "quantitative"}},
    }
    return Figure(
        "memory",
        "Memory by part",
        f"simulated, {result.platform.name}; {plan.learning_bytes / 1e6:.3g} MB in all, which "
        f"{'fits' if plan.fits else 'does not fit'}; the strokes are what the chip has",
        {"width": 380, "height": {"step": 46}, "layer": [bars, strokes]},
    )


def by_layer(result: EventCost, what: str) -> Figure:
    """Seconds or joules of every layer, by step of the event.

    Args:
        result: The event's cost.
        what: "seconds" or "joules".
    """
    total = result.seconds if what == "seconds" else result.joules
    clock = result.platform.cluster.clock_hz
    found: dict[tuple[str, str], float] = {}
    for row in result.passes:
        index = row.scheduled.layer
        layer = f"{index} {row.scheduled.name}" if index >= 0 else "parameters, replays"
        value = row.cost.cycles / clock if what == "seconds" else row.energy.total_joules
        key = (layer, row.scheduled.step)
        found[key] = found.get(key, 0.0) + float(value)
    order = list(dict.fromkeys(layer for layer, _ in found))
    order.sort(key=lambda name: int(name.split()[0]) if name[0].isdigit() else 10**6)
    rows = [
        {"layer": layer, "step": step, "value": value}
        for (layer, step), value in found.items()
        if value > _LEAST_SHARE * total
    ]
    unit = "s" if what == "seconds" else "J"
    title = "Time by layer and pass" if what == "seconds" else "Energy by layer and pass"
    return Figure(
        what,
        title,
        f"simulated, one event on {result.platform.name}: {total:.3g} {unit} in all; parts below "
        "a thousandth are left out",
        {
            "data": {"values": rows},
            "width": 330,
            "height": {"step": 14},
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {
                "y": {"field": "layer", "type": "nominal", "title": None, "sort": order},
                "x": {"field": "value", "type": "quantitative", "title": f"{what} ({unit})"},
                "color": {
                    "field": "step",
                    "type": "nominal",
                    "title": None,
                    "legend": {"orient": "bottom", "columns": 3},
                },
            },
        },
    )


def lifetime(result: EventCost) -> Figure:
    """Hours of battery against events an hour."""
    most = 3600 / result.seconds
    paces = np.geomspace(min(0.05, most / 2), most * 0.999, 60)
    rows = [
        {"pace": round(float(pace), 5), "hours": round(result.lifetime_hours(float(pace)), 3)}
        for pace in paces
    ]
    battery = result.platform.battery
    return Figure(
        "lifetime",
        "Battery against events an hour",
        f"simulated: {battery.charge_mah:g} mAh at {battery.volts:g} V, asleep between events; at "
        f"most {most:.3g} events an hour can be learned",
        {
            "data": {"values": rows},
            "width": 400,
            "height": 260,
            "mark": {"type": "line", "point": {"size": 14}, "tooltip": True},
            "encoding": {
                "x": {
                    "field": "pace",
                    "type": "quantitative",
                    "title": "events an hour",
                    "scale": {"type": "log"},
                },
                "y": {
                    "field": "hours",
                    "type": "quantitative",
                    "title": "battery (h)",
                    "scale": {"type": "log"},
                },
            },
        },
    )


def figures(result: EventCost) -> tuple[Figure, ...]:
    """All of them."""
    return (
        memory(result),
        lifetime(result),
        by_layer(result, "seconds"),
        by_layer(result, "joules"),
    )


def rests_on(result: EventCost) -> Sequence[str]:
    """Recalled or assumed figures behind an event's cost."""
    paths = (*tables.TIME_PATHS, *tables.ENERGY_PATHS, *tables.BATTERY_PATHS)
    return tables.unproven(result.platform, *paths)
