"""Draws what each ingredient of the method is worth from the sweep that learned it.

    qlrjax sweep experiments/sweeps/ablation.toml --out runs/ablation
    python experiments/ablation.py runs/ablation

Writes ablation.csv and ablation.png into the sweep's folder; the sweep file says what to expect.
Verified: results/ablation.csv, on the built-in data at l = 25 with seed 0.
"""

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax import cli, files, report
from qlrjax.lab import table
from qlrjax.lab.table import Row

_METRICS = ("accuracy", "seen_accuracy", "average_accuracy", "forgetting", "backward_transfer")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sweep", type=Path)
    folder = parser.parse_args().sweep
    rows = table.read(folder)
    figures = [name for name in rows[0] if name.rpartition("_")[0] in _METRICS]
    shown = [{"variant": row["case"]} | {name: row[name] for name in figures} for row in rows]
    files.write_atomic(folder / "ablation.csv", table.csv_text(shown))
    files.write_atomic(folder / "ablation.png", picture(rows))


def picture(rows: list[Row]) -> bytes:
    figure = Figure(figsize=(7, 3.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    names = [row["case"] for row in rows]
    bars = axis.barh(names, [row["accuracy_percent"] for row in rows], color="#1b6ca8")
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.invert_yaxis()
    seeds = ", ".join(sorted({str(row["seed"]) for row in rows}))
    axis.set(xlabel=f"final accuracy (%), one run of seed {seeds}: no error bars", xlim=(0, 100))
    axis.spines[["top", "right"]].set_visible(False)
    return report.png(figure)


if __name__ == "__main__":
    raise SystemExit(cli.answer("ablation", main))
