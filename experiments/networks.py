"""Accuracy of several networks and cuts on object photos, paired over seeds, with what they cost.

Source: issue 14 of this project; EfficientNet-Lite0 beside MobileNet-V1 on the same stream, the
same replays and the same seeds.

Command (scenes50's layout, sessions 3 and 7 unseen, 500 8-bit replays, 5 pairs an event):

    python experiments/networks.py --data FOLDER --test-sessions 3 7 \
        --cuts builtin:27 efficientnet_lite0:58 efficientnet_lite0:57 --seeds 3 --out runs/networks

A cut is WEIGHTS:LATENT_LAYER, as `qlrjax network WEIGHTS` lists them. An interrupted run goes on
where it stopped: every cell is a line of cells.csv. Expected: see docs/networks.md.
Minutes on one core, a cell: 0.3 at the classifiers, 3 to 10 where layers are trained.
"""

import argparse
import csv
import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files, presets, session
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training.protocol import Protocol

COLUMNS: tuple[str, ...] = (
    "weights",
    "latent_layer",
    "latent",
    "learning_rate",
    "classifier",
    "center_momentum",
    "epochs",
    "seed",
    "accuracy_percent",
    "replay_bytes",
    "latent_bytes",
    "frozen_macs",
    "adaptive_macs",
    "seconds",
)
KEY = (
    "weights",
    "latent_layer",
    "learning_rate",
    "classifier",
    "center_momentum",
    "epochs",
    "seed",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--test-sessions", type=int, nargs="*", default=[])
    parser.add_argument("--first-classes", type=int, default=10)
    parser.add_argument("--pairs-per-event", type=int, default=5)
    parser.add_argument("--cuts", nargs="+", required=True, metavar="WEIGHTS:LATENT_LAYER")
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--classifier", default="auto", help="or a preset without replays")
    parser.add_argument("--center-momentum", type=float, default=Protocol.center_momentum)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "cells.csv"
    cells = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    for text in arguments.cuts:
        name, _, layer = text.rpartition(":")
        shared: dict[str, Any] = {}
        for seed in range(arguments.seeds):
            key = (
                name,
                layer,
                arguments.learning_rate,
                arguments.classifier,
                arguments.center_momentum,
                arguments.epochs,
                seed,
            )
            if tuple(map(str, key)) in {tuple(cell[column] for column in KEY) for cell in cells}:
                continue
            cell = dict(zip(KEY, key, strict=True)) | learn(
                arguments, name, int(layer), seed, shared
            )
            cells.append({column: str(cell[column]) for column in COLUMNS})
            write(path, cells)
            print(cells[-1], flush=True)
    summarize(cells)


def learn(
    arguments: argparse.Namespace, name: str, layer: int, seed: int, shared: dict[str, Any]
) -> dict[str, Any]:
    """One cell: a whole session, tested at its end."""
    rate, epochs = arguments.learning_rate, arguments.epochs
    if arguments.classifier in presets.PRESETS:
        protocol = presets.preset(arguments.classifier).protocol
    else:
        protocol = Protocol(
            first_learning_rate=rate,
            learning_rate=rate,
            first_epochs=epochs,
            epochs=epochs,
            classifier=arguments.classifier,
            center_momentum=arguments.center_momentum,
        )
    stream = StreamSettings(
        data=arguments.data,
        first_classes=arguments.first_classes,
        pairs_per_event=arguments.pairs_per_event,
        test_sessions=tuple(arguments.test_sessions),
    )
    settings = Settings(
        latent_layer=layer,
        replays=arguments.replays,
        bits=arguments.bits,
        weights=name,
        seed=seed,
        evaluate_every=10**6,
        protocol=protocol,
        stream=stream,
    )
    begun = time.perf_counter()
    # The first event is the same for every seed, so the frozen stage and its latents are shared.
    earlier = session.Earlier(shared.get("extractor"), cache=shared.get("cache"))
    made = session.prepare(settings, earlier=earlier)
    shared |= {"extractor": made.extractor, "cache": made.cache}
    state = session.start(made)
    accuracy = 0.0
    for learned, record in session.learn_all(made, state):
        state, accuracy = learned, record.get("accuracy", accuracy)
    network, memory = made.cut.network, state.learner.memory
    return {
        "latent": made.cut.latent_name,
        "accuracy_percent": round(100 * accuracy, 3),
        "replay_bytes": memory.bytes,
        "latent_bytes": made.cut.latent_elements,
        "frozen_macs": sum(row.macs for row in made.cut.below),
        "adaptive_macs": network.macs - sum(row.macs for row in made.cut.below),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def write(path: Path, cells: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    files.write_atomic(path, text.getvalue())


def summarize(cells: list[dict[str, str]]) -> None:
    groups: dict[tuple[str, ...], list[float]] = {}
    for cell in cells:
        key = tuple(cell[column] for column in (*KEY[:-1], "replay_bytes"))
        groups.setdefault(key, []).append(float(cell["accuracy_percent"]))
    for key, values in groups.items():
        print(*key, len(values), "seeds", f"{np.mean(values):.2f} ± {np.std(values):.2f} %")


if __name__ == "__main__":
    main()
