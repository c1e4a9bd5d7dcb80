"""Figures of what a run learned: accuracy, forgetting, confusion, replay memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from qlrjax import metrics
from qlrjax.lab.page.assemble import Figure, Spec
from qlrjax.names import printable
from qlrjax.runs.history import Moment
from qlrjax.session import Record

_EVENTS_AT_MOST = 48  # matrices that the slider goes through
_CLASSES_AT_MOST = 60  # named in a figure
_NAME_AT_MOST = 30


def names(class_names: Sequence[str]) -> list[str]:
    """Class names that are told apart and fit beside an axis."""
    short = [printable(name, _NAME_AT_MOST) for name in class_names]
    return [
        name if short.count(name) == 1 else f"{name} ({label})" for label, name in enumerate(short)
    ]


def curves(
    records: Sequence[Record],
    matrix: Float32[np.ndarray, "events classes"],
    introduced: Int[np.ndarray, " classes"],
) -> Figure:
    """Accuracy over events, and beside it what was forgotten."""
    rows: list[dict[str, Any]] = []
    for record in records:
        if "accuracy" not in record:
            continue
        event = record["event"]
        seen = metrics.summarize(
            matrix[: event + 1], introduced, np.ones(matrix.shape[1], np.int64)
        )
        rows += [
            {"event": event + 1, "what": what, "value": round(value, 3)}
            for what, value in (
                ("accuracy, all test images", 100 * record["accuracy"]),
                ("accuracy, classes learned so far", 100 * record["seen_accuracy"]),
                ("forgetting, points", seen.forgetting),
            )
        ]
    return Figure(
        "curves",
        "Accuracy and forgetting",
        "measured on the test images, after each tested event; forgetting is the mean over learned "
        "classes of best earlier accuracy less the present one",
        {
            "data": {"values": rows},
            "width": 430,
            "height": 280,
            "mark": {"type": "line", "point": {"size": 18}, "tooltip": True},
            "encoding": {
                "x": _axis("event", "learning events"),
                "y": _axis("value", "percent, points"),
                "color": {
                    "field": "what",
                    "type": "nominal",
                    "title": None,
                    "legend": {"orient": "bottom", "columns": 1, "labelLimit": 320},
                },
            },
        },
    )


def heat(
    matrix: Float32[np.ndarray, "events classes"],
    introduced: Int[np.ndarray, " classes"],
    class_names: Sequence[str],
) -> Figure:
    """Accuracy of every class over events, classes in the order they came."""
    shown = names(class_names)
    order = [shown[label] for label in np.argsort(introduced, kind="stable")]
    tested = np.flatnonzero(~np.isnan(matrix).all(axis=1))
    rows = [
        {
            "event": int(event) + 1,
            "class": shown[label],
            "value": round(100 * float(value), 2),
            "learned": bool(introduced[label] <= event),
        }
        for event in tested
        for label, value in enumerate(matrix[event])
        if not np.isnan(value)
    ]
    return Figure(
        "heat",
        "Every class after every event",
        "accuracy on the class's test images, percent; classes from top to bottom in the order in "
        "which they came, pale where they had not come yet",
        {
            "data": {"values": rows},
            "width": {"step": max(6, 420 // max(len(tested), 1))},
            "height": {"step": 18 if len(shown) <= 20 else 8},
            "mark": {"type": "rect", "tooltip": True},
            "encoding": {
                "x": {
                    "field": "event",
                    "type": "ordinal",
                    "title": "learning events",
                    "axis": {"labelOverlap": True, "labelAngle": 0},
                },
                "y": {
                    "field": "class",
                    "type": "nominal",
                    "sort": order,
                    "title": None,
                    "axis": {"labels": len(shown) <= _CLASSES_AT_MOST},
                },
                "color": {
                    "field": "value",
                    "type": "quantitative",
                    "title": "accuracy (%)",
                    "scale": {"scheme": "viridis", "domain": [0, 100]},
                },
                "opacity": {"condition": {"test": "datum.learned", "value": 1}, "value": 0.25},
            },
        },
    )


def confusion(history: Mapping[int, Moment], class_names: Sequence[str]) -> Figure:
    """The confusion matrix, its event chosen by a slider."""
    tested = [event for event, moment in sorted(history.items()) if moment.confusion]
    if len(tested) > _EVENTS_AT_MOST:
        chosen = np.linspace(0, len(tested) - 1, _EVENTS_AT_MOST).round().astype(int)
        tested = [tested[place] for place in chosen]
    shown = names(class_names)
    rows = [
        {"step": step, "event": event + 1, "true": shown[true], "said": shown[said], "images": n}
        for step, event in enumerate(tested, 1)
        for true, said, n in history[event].confusion
        if true < len(shown) and said < len(shown)
    ]
    events = "[" + ",".join(str(event + 1) for event in tested) + "]"
    side: Spec = {"step": 22 if len(shown) <= 20 else 8}
    last = len(tested)
    slider = {"input": "range", "min": 1, "max": last, "step": 1, "name": "tested event no. "}
    return Figure(
        "confusion",
        "What is taken for what",
        "test images by their class (rows) and what the learner says (columns); the slider chooses "
        "the tested event, still pictures show the last",
        {
            "params": [{"name": "step", "value": last, "bind": slider}],
            "transform": [{"filter": "datum.step == step"}],
            "data": {"values": rows},
            "width": side,
            "height": side,
            "title": {"text": {"expr": f"'after event ' + {events}[step - 1]"}, "fontSize": 12},
            "mark": {"type": "rect", "tooltip": True},
            "encoding": {
                "x": _classes("said", "taken for", shown),
                "y": _classes("true", "is", shown),
                "color": {
                    "field": "images",
                    "type": "quantitative",
                    "title": "images",
                    "scale": {"scheme": "viridis"},
                },
            },
        },
    )


def replays(history: Mapping[int, Moment], class_names: Sequence[str]) -> Figure:
    """What replay memory holds of every class, over events."""
    shown = names(class_names)
    rows = [
        {"event": event + 1, "class": shown[label], "latents": count}
        for event, moment in sorted(history.items())
        for label, count in enumerate(moment.replays)
        if count and label < len(shown)
    ]
    return Figure(
        "replays",
        "What replay memory holds",
        "latents by class, after every event",
        {
            "data": {"values": rows},
            "width": 430,
            "height": 280,
            "mark": {"type": "bar", "tooltip": True, "width": {"band": 1}},
            "encoding": {
                "x": {
                    "field": "event",
                    "type": "ordinal",
                    "title": "learning events",
                    "axis": {"labelOverlap": True, "labelAngle": 0},
                },
                "y": _axis("latents", "latents"),
                "color": {
                    "field": "class",
                    "type": "nominal",
                    "title": None,
                    "sort": shown,
                    "scale": {"scheme": "tableau20"},
                },
            },
        },
    )


def _axis(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title}


def _classes(field: str, title: str, shown: Sequence[str]) -> Spec:
    axis: Spec = {"labels": len(shown) <= _CLASSES_AT_MOST}
    if field == "said":
        axis["labelAngle"] = -45
    scale = {"domain": list(shown)}
    return {"field": field, "type": "nominal", "title": title, "scale": scale, "axis": axis}
