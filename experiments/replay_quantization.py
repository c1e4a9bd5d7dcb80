"""Final accuracy against the bits of a replay, the latent layer, the replay memory and the seed.

Source: Ravaglia et al., JETCAS 2021, the headline table (8-bit replays lose 0.26 points at 3000
replays, 7-bit ones up to 5 points; CORe50 NICv2-391), here on a data source given by name.

Command (real object photos in scenes50's layout, sessions 3 and 7 unseen, 5 pairs an event):

    python experiments/replay_quantization.py --data FOLDER --test-sessions 3 7 \
        --latent-layers 27 --replays 0 500 1500 --bits 32 8 7 6 --seeds 3 --out runs/bits

Expected: 8 bits within 0.5 points of float32, 7 bits within 5; docs/results.md has the table.
Minutes on 2 cores, a cell (one setting, one seed) of scenes50 with 500 replays: l = 27 0.1, l = 25
1.8, l = 23 2.6, l = 19 8; three times that with 1500 replays, five times with one pair an event. An
interrupted run goes on where it stopped: every cell is a line of cells.csv, and the cells behind
the table there are results/scenes50_cells.csv.
Verified: docs/results.md says which cells.

"float32" is a float frozen stage with float replays; all other widths have the int8 stage.
"""

import argparse
import csv
import io
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax import cli, files, report, session
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training.protocol import Protocol

COLUMNS: tuple[str, ...] = (
    "latent_layer",
    "replays",
    "bits",
    "seed",
    "pairs_per_event",
    "head",
    "minibatch",
    "accuracy_percent",
    "forgetting_points",
    "replay_bytes",
    "seconds",
)
KEY = COLUMNS[:7]
GROUP = ("pairs_per_event", "latent_layer", "replays", "head", "minibatch")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--data-dir", default="", help="where CORe50's array of frames lies")
    parser.add_argument("--test-sessions", type=int, nargs="*", default=[])
    parser.add_argument("--first-classes", type=int, default=10)
    parser.add_argument("--pairs-per-event", type=int, default=5)
    parser.add_argument("--latent-layers", type=int, nargs="+", default=[27])
    parser.add_argument("--replays", type=int, nargs="+", default=[0, 500, 1500])
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 8, 7, 6, 5, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--head", choices=("cwr*", "plain"), default="cwr*")
    parser.add_argument("--minibatch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "cells.csv"
    check_same_data(arguments)
    cells = read_cells(path)
    done = {tuple(str(cell[name]) for name in KEY) for cell in cells}
    shared: dict[Any, Any] = {}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    # Float and integer stages one after the other, so that each extracts its latents once.
    widths = sorted(arguments.bits, key=lambda bits: bits != 32)
    stages = [[bits for bits in widths if (bits == 32) == floats] for floats in (True, False)]
    grid = itertools.product(arguments.latent_layers, stages, arguments.replays, seeds)
    cases = ((l, r, s, b) for l, stage, r, s in grid for b in stage)  # noqa: E741
    for layer, replays, seed, bits in cases:
        key = (
            layer,
            replays,
            bits,
            seed,
            arguments.pairs_per_event,
            arguments.head,
            arguments.minibatch,
        )
        if tuple(map(str, key)) in done or (replays == 0 and bits not in (32, 8)):
            continue  # without replays, only the frozen stage can differ
        learned = learn(arguments, layer, replays, bits, seed, shared)
        cell = dict(zip(KEY, key, strict=True)) | learned
        cells.append({name: str(value) for name, value in cell.items()})
        write_cells(path, cells)
        print(cell, flush=True)
    summarize(arguments.out, cells)


def check_same_data(arguments: argparse.Namespace) -> None:
    """Cells of one folder share what is no column of theirs.

    Raises:
        ValueError: The folder's cells were learned from other data or at another rate.
    """
    path = arguments.out / "data.json"
    names = ("data", "test_sessions", "first_classes", "learning_rate")
    asked = {name: getattr(arguments, name) for name in names}
    if (arguments.out / "cells.csv").exists():
        before = json.loads(path.read_text()) if path.exists() else {}
        changed = [name for name in names if asked[name] != before.get(name)]
        if changed:
            raise ValueError(
                f"{arguments.out} holds cells with {changed[0]} {before.get(changed[0])!r}, not "
                f"{asked[changed[0]]!r}; choose another --out"
            )
    files.write_atomic(path, json.dumps(asked, indent=2) + "\n")


def learn(
    arguments: argparse.Namespace, layer: int, replays: int, bits: int, seed: int, shared: dict
) -> dict[str, Any]:
    """One cell: a whole session, tested at its end."""
    rates = Protocol(
        first_learning_rate=arguments.learning_rate,
        learning_rate=arguments.learning_rate,
        classifier=arguments.head,
        minibatch=arguments.minibatch,
    )
    chosen = Settings(
        latent_layer=layer,
        replays=replays,
        bits=bits,
        seed=seed,
        evaluate_every=10,
        frozen="float32" if bits == 32 else "int8",
        protocol=rates,
        stream=StreamSettings(
            data=arguments.data,
            data_dir=arguments.data_dir,
            first_classes=arguments.first_classes,
            pairs_per_event=arguments.pairs_per_event,
            test_sessions=tuple(arguments.test_sessions),
        ),
    )
    # The first event is the same for every seed, so the frozen stage and its latents are shared.
    stage = (layer, chosen.frozen)
    if stage not in shared:
        shared.clear()
        shared[stage] = (None, {})
    extractor, cache = shared[stage]
    prepared = session.prepare(chosen, earlier=session.Earlier(extractor, cache=cache))
    shared[stage] = (prepared.extractor, cache)
    started = time.perf_counter()
    state = session.start(prepared)
    while int(state.position) < prepared.events:
        state, _ = session.learn_next(prepared, state)
    classes = prepared.cut.classes
    curve = report.Curve(
        "",
        np.asarray(state.accuracy),
        np.asarray(state.introduced),
        np.bincount(prepared.test_labels, minlength=classes),
        prepared.class_names,
    )
    summary = curve.summary()
    return {
        "accuracy_percent": round(summary.accuracy, 3),
        "forgetting_points": round(summary.forgetting, 3),
        "replay_bytes": state.learner.memory.bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def read_cells(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_cells(path: Path, cells: list[dict[str, str]]) -> None:
    """All of them anew, so that no stop leaves half a line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    files.write_atomic(path, text.getvalue())


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
