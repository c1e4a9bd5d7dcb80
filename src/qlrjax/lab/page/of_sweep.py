"""The report of a sweep: accuracy against what varied, the Pareto front, every session."""

import html
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from qlrjax.lab import accuracy, plan, plan_text, space, sweep, sweepfile, table
from qlrjax.lab.page import assemble
from qlrjax.lab.page.assemble import Figure, Section
from qlrjax.lab.plan import Costed
from qlrjax.lab.table import Row
from qlrjax.names import printable

_FIGURES = ("accuracy_percent", "forgetting_points", "ACC_percent", "BWT_points", "replay_bytes")
_AXES_AT_MOST = 8


def page(folder: Path, chip_name: str = "vega") -> str:
    """The page of a sweep, finished or not.

    Args:
        folder: The sweep's.
        chip_name: Platform that costs are simulated on.

    Raises:
        ValueError: The folder holds no sweep with a finished session.
    """
    wanted = sweepfile.load(folder / "sweep.toml")
    rows = table.read(folder)
    _check_columns(rows, wanted)
    varied = [
        name
        for name in dict.fromkeys(["case", *(key for task in wanted.tasks for key in task.varied)])
        if name != "seed" and len({str(row[name]) for row in rows}) > 1
    ]
    missing = sweep.standing(wanted, folder).missing
    sections = [Section("Accuracy against what varied", _against(rows, varied), "")]
    sections.append(_front(rows, chip_name))
    columns = [*varied, "seed", *_FIGURES]
    cells = [[row[name] for name in columns] for row in rows]
    sections.append(Section("Every session", (), assemble.table(columns, cells)))
    command = f"qlrjax sweep sweep.toml --out {shlex.quote(printable(folder))}"
    versions = {name: metadata.version(name) for name in ("qlrjax", "jax", "flax", "numpy")}
    body = (
        f"<p>The same sweep again, with the file below as sweep.toml:</p>{assemble.text(command)}"
        f"{assemble.text(wanted.text)}<p>This page was made with:</p>{assemble.facts(versions)}"
    )
    sections.append(Section("The file, versions, command", (), body))
    lead = (
        f"{len(rows)} of {len(wanted.tasks)} sessions are finished"
        f"{f', {len(missing)} are missing' if missing else ''}; data: {_data(rows)}"
    )
    return assemble.page(printable(wanted.title, 120), lead, sections)


def _check_columns(rows: Sequence[Row], wanted: sweepfile.Sweep) -> None:
    needed = {"case", "seed", "data", "test_images", *_FIGURES}
    needed |= {name for task in wanted.tasks for name in task.varied}
    lacking = sorted(needed - set(rows[0]))
    if lacking:
        raise ValueError(f"the table has no column {lacking[0]!r}; qlrjax sweep writes it anew")


def _data(rows: Sequence[Row]) -> str:
    names = {f"{row['data']} ({row['test_images']} test images)" for row in rows}
    return ", ".join(sorted(printable(name, 120) for name in names))


def _against(rows: Sequence[Row], varied: Sequence[str]) -> tuple[Figure, ...]:
    """A figure an axis: every session, and the means over seeds of what else is equal."""
    figures = []
    for place, name in enumerate(varied[:_AXES_AT_MOST]):
        others = [other for other in varied if other != name]
        points = []
        for row in rows:
            line = ", ".join(f"{other} {row[other]}" for other in others) or "all"
            points.append(
                {"x": str(row[name]), "y": row["accuracy_percent"], "line": printable(line, 80)}
                | {"seed": row["seed"]}
            )
        order = sorted({str(row[name]) for row in rows}, key=_natural)
        figures.append(_axis(f"axis{place}", printable(name, 40), points, order))
    return tuple(figures)


def _axis(name: str, axis: str, points: Sequence[Row], order: Sequence[str]) -> Figure:
    shared = {
        "x": {
            "field": "x",
            "type": "ordinal",
            "title": axis,
            "scale": {"domain": list(order)},
            "axis": {"labelAngle": 0},
        },
        "color": {
            "field": "line",
            "type": "nominal",
            "title": None,
            "legend": {"orient": "bottom", "columns": 2, "labelLimit": 260, "symbolLimit": 16},
        },
    }
    y = {"type": "quantitative", "title": "final accuracy (%)", "scale": {"zero": False}}
    return Figure(
        name,
        f"By {axis}",
        "measured; points are sessions, lines the means over seeds",
        {
            "data": {"values": list(points)},
            "width": 420,
            "height": 280,
            "layer": [
                {
                    "mark": {"type": "point", "size": 22, "opacity": 0.6, "tooltip": True},
                    "encoding": {**shared, "y": {"field": "y", **y}},
                },
                {
                    "mark": {"type": "line"},
                    "encoding": {**shared, "y": {"field": "y", "aggregate": "mean", **y}},
                },
            ],
        },
    )


def _front(rows: Sequence[Row], chip_name: str) -> Section:
    """Accuracy against what the chip's model says of each setting."""
    title = f"What it costs on {chip_name}"
    try:
        chip = space.load(chip_name)
        found = accuracy.measured(rows)
        parts = [space.of_measured(one, space.Space(), chip, 0) for one in found]
        costed, refused = space.cost([one for part in parts for one in part], chip, 60.0)
        answer = plan.answer(costed, plan.Limits())
    except ValueError as error:
        return Section(title, (), f"<p>Not costed: {html.escape(str(error))}</p>")
    front = {id(one) for one in answer.front}
    points = [_point(one, id(one) in front) for one in costed]
    figures = tuple(
        _against_cost(name, field, label, points)
        for name, field, label in (
            ("memory", "memory", "memory (MB), simulated"),
            ("energy", "joules", "energy of an event (J), simulated"),
        )
    )
    cells = [[plan_text.percent(one), plan_text.describe(one)] for one in answer.front]
    body = assemble.table(("accuracy (%)", "on the front"), cells)
    body += "".join(f"<p>Not costed: {html.escape(line)}</p>" for line in refused)
    return Section(title, figures, body)


def _point(one: Costed, is_on_front: bool) -> Row:
    spread = one.measured.spread if one.measured else None
    return {
        "accuracy": one.measured.mean if one.measured else None,
        "spread": spread,
        "memory": round(one.memory_bytes / 1e6, 4),
        "joules": round(one.joules, 5),
        "seconds": round(one.seconds, 4),
        "bits": one.choice.bits,
        "replays": one.choice.replays,
        "layer": one.choice.latent_layer,
        "front": "on the front" if is_on_front else "beaten",
    }


def _against_cost(name: str, field: str, label: str, points: Sequence[Row]) -> Figure:
    return Figure(
        f"front-{name}",
        f"Accuracy against {name}",
        "filled: no other setting is as good in accuracy, memory, time and energy and better in "
        "one; means over seeds",
        {
            "data": {"values": list(points)},
            "width": 420,
            "height": 300,
            "mark": {"type": "point", "size": 60, "tooltip": {"content": "data"}},
            "encoding": {
                "x": {
                    "field": field,
                    "type": "quantitative",
                    "title": label,
                    "scale": {"type": "log"},
                },
                "y": {
                    "field": "accuracy",
                    "type": "quantitative",
                    "title": "final accuracy (%), measured",
                    "scale": {"zero": False},
                },
                "color": {"field": "bits", "type": "nominal", "title": "bits"},
                "shape": {"field": "layer", "type": "nominal", "title": "layer"},
                "fillOpacity": {
                    "condition": {"test": "datum.front == 'on the front'", "value": 1},
                    "value": 0,
                },
                "fill": {"field": "bits", "type": "nominal", "title": "bits"},
            },
        },
    )


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text
