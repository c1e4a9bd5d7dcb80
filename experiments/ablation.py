"""What each ingredient of the method is worth: replays, CWR*, batch renorm, the integer stage.

Source: the ingredients of Ravaglia et al., JETCAS 2021, and Pellegrini et al., arXiv 1912.01100.

Command (built-in data, or --data FOLDER --test-sessions 3 7 for photos in scenes50's layout):

    python experiments/ablation.py --latent-layer 25 --out runs/ablation

Expected: without replays the plain head forgets nearly everything; the integer stage costs less
than a point. One seed: differences below 2 points are noise. results/ablation.csv has the table.
Minutes on 2 cores: 10 at l = 25, 2 at l = 27.
Verified: yes, on the built-in data at l = 25 with seed 0.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax import cli, files, report
from qlrjax.runs import interrupt, run
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training.protocol import Protocol


def variants(base: Settings) -> dict[str, Settings]:
    """Name to settings; every row changes one thing of the first."""

    def protocol(**changes: Any) -> Settings:
        changed = dataclasses.replace(base.protocol, **changes)
        return dataclasses.replace(base, protocol=changed)

    joint = dataclasses.replace(base.stream, joint=True)
    without = dataclasses.replace(base, replays=0)
    plain = dataclasses.replace(base.protocol, classifier="plain")
    return {
        "full method, 8-bit": base,
        "float frozen stage, float replays": dataclasses.replace(base, bits=32, frozen="float32"),
        "float frozen stage, 8-bit replays": dataclasses.replace(base, frozen="float32"),
        "plain head instead of CWR*": protocol(classifier="plain"),
        "batch norm instead of renorm": protocol(normalization="batch"),
        "running statistics only": protocol(normalization="running"),
        "head only, layers kept": protocol(train_layers=False),
        "no replays, CWR* head": without,
        "no replays, plain head": dataclasses.replace(without, protocol=plain),
        "all events at once (joint)": dataclasses.replace(without, stream=joint),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--test-sessions", type=int, nargs="*", default=[])
    parser.add_argument("--first-classes", type=int, default=2)
    parser.add_argument("--pairs-per-event", type=int, default=1)
    parser.add_argument("--latent-layer", type=int, default=25)
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rate = arguments.learning_rate
    base = Settings(
        latent_layer=arguments.latent_layer,
        replays=arguments.replays,
        seed=arguments.seed,
        evaluate_every=10,
        protocol=Protocol(first_learning_rate=rate, learning_rate=rate, classifier="cwr*"),
        stream=StreamSettings(
            data=arguments.data,
            test_sessions=tuple(arguments.test_sessions),
            first_classes=arguments.first_classes,
            pairs_per_event=arguments.pairs_per_event,
        ),
    )
    rows = []
    with interrupt.catch() as stop:
        for index, (name, chosen) in enumerate(variants(base).items()):
            outcome = run.run(chosen, arguments.out / f"{index:02d}", stop=stop)
            if not outcome.finished:
                return stop.exit_code
            row = {"variant": name} | report.summary_values(outcome.curve(name))
            rows.append(row)
            print(f"{name:36s} {row['accuracy_percent']:6.2f} %", flush=True)
    report.write_table(arguments.out, rows)
    files.write_atomic(arguments.out / "ablation.png", picture(rows, arguments.seed))
    return 0


def picture(rows: list[dict[str, Any]], seed: int) -> bytes:
    figure = Figure(figsize=(7, 3.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    names = [row["variant"] for row in rows]
    bars = axis.barh(names, [row["accuracy_percent"] for row in rows], color="#1b6ca8")
    axis.bar_label(bars, fmt="%.1f", padding=3)
    axis.invert_yaxis()
    axis.set(xlabel=f"final accuracy (%), one run of seed {seed}: no error bars", xlim=(0, 100))
    axis.spines[["top", "right"]].set_visible(False)
    return report.png(figure)


if __name__ == "__main__":
    raise SystemExit(cli.answer("ablation", main))
