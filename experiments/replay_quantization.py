"""Draws final accuracy against the bits of a replay, from sweeps that learned it.

    qlrjax sweep experiments/sweeps/fashion_bits.toml --out runs/fashion-bits
    python experiments/replay_quantization.py runs/fashion-bits

Source: Ravaglia et al., JETCAS 2021, the headline table; the sweep files say what to expect and how
long it takes (fashion_bits.toml, scenes50_bits.toml, scenes50_unmeasured.toml).

Takes sweep folders, and tables of cells such as results/scenes50_cells.csv, and puts them together;
table.md, table.json and accuracy_against_bits.png go to --out, by default the first folder.
Verified: docs/results.md says which cells.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax import cli, files, report
from qlrjax.lab import table

GROUP = ("pairs_per_event", "latent_layer", "replays", "head", "minibatch")
# Columns of a sweep's table by their short names here.
_SHORT = {
    "pairs_per_event": "stream.pairs_per_event",
    "head": "protocol.classifier",
    "minibatch": "protocol.minibatch",
}
_PLAIN = ("latent_layer", "replays", "bits", "seed", "accuracy_percent")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sources", type=Path, nargs="+", help="sweep folders, or tables of cells")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cells = [cell for source in arguments.sources for cell in read_cells(source)]
    out = arguments.out or arguments.sources[0]
    out.mkdir(parents=True, exist_ok=True)
    summarize(out, cells)


def read_cells(source: Path) -> list[dict[str, str]]:
    """One a session: what is varied, and its final accuracy, as text."""
    if source.is_file():
        with source.open(newline="") as file:
            return list(csv.DictReader(file))
    return [
        {name: str(row[name]) for name in _PLAIN}
        | {short: str(row[name]) for short, name in _SHORT.items()}
        for row in table.read(source)
    ]


def summarize(out: Path, cells: list[dict[str, str]]) -> None:
    """Mean and standard deviation over the seeds, as Markdown, JSON and a picture."""
    by_group: dict[tuple[str, ...], dict[int, dict[int, float]]] = {}
    for cell in cells:
        group = by_group.setdefault(tuple(cell[name] for name in GROUP), {})
        seeds = group.setdefault(int(cell["bits"]), {})
        seeds[int(cell["seed"])] = float(cell["accuracy_percent"])
    rows = [
        dict(zip(GROUP, map(number, key), strict=True))
        | {"bits": bits, "seeds": len(seeds)}
        | spread("accuracy_percent", list(seeds.values()))
        | spread("loss_points", [group[32][s] - seeds[s] for s in seeds if s in group.get(32, {})])
        for key, group in sorted(by_group.items(), key=lambda item: tuple(map(number, item[0])))
        for bits, seeds in sorted(group.items(), reverse=True)
    ]
    files.write_atomic(out / "table.json", json.dumps(rows, indent=2) + "\n")
    files.write_atomic(out / "table.md", markdown(rows))
    files.write_atomic(out / "accuracy_against_bits.png", picture(rows))
    print(markdown(rows))


def number(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def spread(name: str, values: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation; a loss is paired: float32 minus this width, seed by seed."""
    several = len(values) > 1
    return {
        f"{name}_mean": round(float(np.mean(values)), 3) if values else None,
        f"{name}_std": round(float(np.std(values, ddof=1)), 3) if several else None,
    }


def grouped(rows: list[dict[str, Any]]) -> list[tuple[tuple, dict[int, dict[str, Any]]]]:
    """Rows by what they share, each group as {bits: row}."""
    groups: dict[tuple, dict[int, dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUP), {})[row["bits"]] = row
    return list(groups.items())


def markdown(rows: list[dict[str, Any]]) -> str:
    """A line a group, a column a width; accuracy in % on unseen sessions, losses in points."""
    widths = sorted({row["bits"] for row in rows}, reverse=True)
    names = ["float32" if bits == 32 else f"{bits} bits" for bits in widths]
    lost = [f"lost at {bits} bits" for bits in widths if bits in (7, 8)]
    head = ["pairs an event", "l", "replays", "head", "mini-batch", "seeds", *names, *lost]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, mine in grouped(rows):
        texts = [text(mine.get(bits), "accuracy_percent") for bits in widths]
        texts += [text(mine.get(bits), "loss_points") for bits in widths if bits in (7, 8)]
        seeds = max(row["seeds"] for row in mine.values())
        lines.append(f"| {' | '.join(map(str, key))} | {seeds} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def text(row: dict[str, Any] | None, name: str) -> str:
    if row is None or row[f"{name}_mean"] is None:
        return "–"
    std = row[f"{name}_std"]
    return f"{row[f'{name}_mean']:.2f}" + ("" if std is None else f" ± {std:.2f}")


def seeds(mine: dict[int, dict[str, Any]]) -> str:
    """How many seeds the cells of a group have."""
    numbers = sorted({row["seeds"] for row in mine.values()})
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Accuracy against bits, and beside it the loss against float32, which seeds do not blur."""
    figure = Figure(figsize=(12, 4.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, loss = figure.subplots(1, 2)
    widths = sorted({row["bits"] for row in rows if row["replays"]})
    groups = [(dict(zip(GROUP, key, strict=True)), mine) for key, mine in grouped(rows)]
    groups = [(group, mine) for group, mine in groups if group["replays"]]
    several = len({group["pairs_per_event"] for group, _ in groups}) > 1
    for index, (group, mine) in enumerate(groups):
        label = f"l = {group['latent_layer']}, {group['replays']} replays, seeds: {seeds(mine)}"
        if several:
            label += f", pairs an event: {group['pairs_per_event']}"
        shift = 0.1 * (index - (len(groups) - 1) / 2)
        for axis, name in ((accuracy, "accuracy_percent"), (loss, "loss_points")):
            shown = {bits: row for bits, row in mine.items() if row[f"{name}_mean"] is not None}
            if axis is loss:
                shown.pop(32, None)  # 0 by definition
            axis.errorbar(
                [widths.index(bits) + shift for bits in shown],
                [row[f"{name}_mean"] for row in shown.values()],
                [row[f"{name}_std"] or 0 for row in shown.values()],
                marker="o",
                ms=4,
                lw=0.8,
                elinewidth=0.8,
                capsize=2,
                label=label,
            )
    loss.axhline(0, color="black", lw=0.6)
    for axis, ticks in ((accuracy, widths), (loss, [bits for bits in widths if bits != 32])):
        axis.set_xticks(range(len(ticks)), ["float32" if b == 32 else str(b) for b in ticks])
        for between in range(len(ticks) - 1):
            axis.axvline(between + 0.5, color="0.9", lw=0.8, zorder=0)
        axis.set_xlabel("bits of a replay")
        axis.grid(axis="y", alpha=0.3)
    accuracy.set_ylabel(
        "final accuracy on unseen sessions (%),\nmean and standard deviation of the seeds"
    )
    loss.set_ylabel("lost against float32, same seed (points)")
    lines, labels = loss.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return report.png(figure)


if __name__ == "__main__":
    raise SystemExit(cli.answer("replay_quantization", main))
