"""What people look at: a picture of a session, its accuracy matrix as CSV, its summary as JSON."""

import csv
import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float32, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font

from qlrjax import files, metrics
from qlrjax.names import for_matplotlib

_NAME_AT_MOST = 40
_COLOURS = ("#1b6ca8", "#c8553d", "#5a8f4e", "#8a6bb1")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One session as the report shows it.

    Attributes:
        name: In the legend, such as "500 replays of 8 bits".
        matrix: Accuracy after every event on every class, shares of 1; NaN where not tested.
        introduced: The event that first brought each class.
        test_counts: Test images of every class.
        class_names: In label order.
    """

    name: str
    matrix: Float32[np.ndarray, "events classes"]
    introduced: Int[np.ndarray, " classes"]
    test_counts: Int[np.ndarray, " classes"]
    class_names: Sequence[str]

    def summary(self) -> metrics.Summary:
        """Metrics of the session."""
        return metrics.summarize(self.matrix, self.introduced, self.test_counts)

    def overall(self) -> tuple[np.ndarray, np.ndarray]:
        """Tested events (from 1) and the accuracy on the whole test set, percent."""
        rows = np.flatnonzero(~np.isnan(self.matrix).all(axis=1))
        shares = self.test_counts / max(int(self.test_counts.sum()), 1)
        return rows + 1, 100 * np.nansum(self.matrix[rows] * shares, axis=1)


def picture(curves: Sequence[Curve]) -> bytes:
    """A PNG: accuracy over events for all curves, and what happens to every class in each."""
    texts = [text for curve in curves for text in (curve.name, *curve.class_names)]
    families, unknown = _lettering(texts)
    with matplotlib.rc_context({"font.family": families}):
        return png(_figure(curves, unknown))


def _figure(curves: Sequence[Curve], unknown: set[str]) -> Figure:
    figure = Figure(figsize=(4.6 + 3.9 * len(curves), 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(curves), width_ratios=[1.15] + [1.0] * len(curves))
    lines = axes[0]
    ends = []
    for curve, colour in zip(curves, _COLOURS, strict=False):
        events, accuracy = curve.overall()
        name = for_matplotlib(curve.name, _NAME_AT_MOST)
        lines.plot(events, accuracy, color=colour, lw=2, label=name)
        ends.append((float(accuracy[-1]), int(events[-1]), colour))
    for height, (accuracy, event, colour) in zip(_apart([e[0] for e in ends]), ends, strict=True):
        lines.annotate(
            f"{accuracy:.1f} %",
            (event, height),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
    lines.set(xlabel="learning events", ylabel="accuracy on all test images (%)", ylim=(0, 100))
    lines.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.2)
    lines.spines[["top", "right"]].set_visible(False)
    lines.grid(axis="y", alpha=0.3)
    for axis, curve in zip(axes[1:], curves, strict=True):
        image = _class_panel(axis, curve, _class_names(curve.class_names, unknown))
    figure.colorbar(image, ax=axes[-1], label="accuracy on the class (%)", shrink=0.85)
    return figure


def _apart(heights: Sequence[float], least: float = 6.0) -> list[float]:
    """Heights of labels beside an axis from 0 to 100: in order, within it, none on another."""
    placed = [0.0] * len(heights)
    below = -np.inf
    for index in np.argsort(heights, kind="stable"):
        placed[index] = below = max(float(heights[index]), below + least)
    above = 100.0 + least
    for index in np.argsort(placed, kind="stable")[::-1]:
        placed[index] = above = min(placed[index], above - least)
    return placed


def _lettering(texts: Sequence[str]) -> tuple[list[str], set[str]]:
    """Families that together have what is written, DejaVu Sans first; and what no font here has."""
    missing = {ord(letter) for text in texts for letter in text}
    families = ["DejaVu Sans"]
    missing -= get_font(findfont("DejaVu Sans")).get_charmap().keys()
    for font in fontManager.ttflist:
        if missing and not font.name.startswith("Last Resort"):  # that one draws boxes
            found = missing & get_font(font.fname).get_charmap().keys()
            families += [font.name] if found else []
            missing -= found
    return families, {chr(letter) for letter in missing}


def _class_names(names: Sequence[str], unknown: set[str]) -> list[str]:
    """Names to draw; a class is called by its number where no font has its letters."""
    return [
        f"class {label}" if unknown & set(name) else for_matplotlib(name, _NAME_AT_MOST)
        for label, name in enumerate(names)
    ]


def png(figure: Figure) -> bytes:
    """A figure as PNG bytes without a program's name in them."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _class_panel(axis: Any, curve: Curve, names: Sequence[str]) -> Any:
    order = np.argsort(curve.introduced, kind="stable")
    shown = 100 * curve.matrix[:, order].T
    image = axis.imshow(
        shown,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        vmin=0,
        vmax=100,
        extent=(0.5, curve.matrix.shape[0] + 0.5, len(order) - 0.5, -0.5),
    )
    for row, label in enumerate(order):
        start = curve.introduced[label] + 1
        if start <= curve.matrix.shape[0]:
            axis.plot([start - 0.5] * 2, [row - 0.5, row + 0.5], color="white", lw=1.5)
    forgetting = curve.summary().forgetting
    name = for_matplotlib(curve.name, _NAME_AT_MOST)
    axis.set_title(f"{name}\nforgetting {forgetting:.1f} points", fontsize=10)
    axis.set_xlabel("learning events")
    if len(order) <= 20:
        axis.set_yticks(range(len(order)), [names[label] for label in order])
        axis.tick_params(axis="y", labelsize=7)
    else:
        axis.set_ylabel("classes, in the order they came")
    return image


def accuracy_csv(curve: Curve) -> str:
    """The accuracy matrix: a row an event (from 0), a column a class, shares of 1."""
    return matrix_csv(curve.matrix, curve.class_names)


def matrix_csv(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Like `accuracy_csv`, of float32[events, classes]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["event", *class_names])
    for event, row in enumerate(matrix):
        cells = ["" if np.isnan(value) else f"{value:.6f}" for value in row]
        writer.writerow([event, *cells])
    return text.getvalue()


def summary_values(curve: Curve) -> dict[str, float]:
    """Metrics with their units in the names, to three decimals: an image in 100,000 counts."""
    summary = curve.summary()
    values = {
        "accuracy_percent": summary.accuracy,
        "seen_accuracy_percent": summary.seen_accuracy,
        "average_accuracy_percent": summary.average_accuracy,
        "forgetting_points": summary.forgetting,
        "backward_transfer_points": summary.backward_transfer,
    }
    return {name: round(value, 3) for name, value in values.items()}


def standard_values(curve: Curve) -> dict[str, float]:
    """Metrics under their names in the literature, see `metrics.Standard`."""
    found = metrics.standard(curve.matrix, curve.introduced, curve.test_counts)
    values = {
        "ACC_percent": found.acc,
        "BWT_points": found.bwt,
        "FWT_points": found.fwt,
        "LA_percent": found.learning_accuracy,
    }
    return {name: round(value, 3) for name, value in values.items()}


def summary_json(curve: Curve, extra: dict[str, Any]) -> str:
    """`summary_values` and what else is known of the run."""
    return json.dumps({**summary_values(curve), **extra}, indent=2) + "\n"


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes table.csv and table.json; all rows have the first one's keys, units among them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_atomic(folder / "table.csv", text.getvalue())
    files.write_atomic(folder / "table.json", json.dumps(rows, indent=2) + "\n")


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A compressed .npz whose bytes depend on the arrays only: no time stamp, a fixed order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, arrays[name], allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    files.write_atomic(path, buffer.getvalue())
