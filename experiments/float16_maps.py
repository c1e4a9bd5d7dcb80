"""Accuracy when training keeps its maps in float16 between forward and backward, against FP32.

Source: this project's own question; the chip moves and holds half as many bytes of maps
(`qlrjax hw event --maps float16`, docs/chip.md).

Command (real object photos in scenes50's layout, sessions 3 and 7 unseen, 5 pairs an event):

    python experiments/float16_maps.py --data FOLDER --test-sessions 3 7 --latent-layer 25 \
        --replays 500 --seeds 3 --out runs/float16_maps

Expected: final accuracies of both within a point, seed by seed; docs/chip.md has the table.
Minutes on 2 cores: 4 a seed at l = 26. An interrupted run goes on where it stopped.
Verified: docs/chip.md says which cells.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from qlrjax import cli, files, report, session
from qlrjax.integer.extractor import Extractor
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training.protocol import Protocol

COLUMNS = ("latent_layer", "replays", "seed", "maps", "accuracy_percent", "train_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-sessions", type=int, nargs="*", default=[])
    parser.add_argument("--latent-layer", type=int, default=25)
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "cells.csv"
    cells = list(csv.DictReader(path.open())) if path.exists() else []
    extractor = None
    for seed in range(arguments.seeds):
        for maps in ("float16", "float32"):
            key = (arguments.latent_layer, arguments.replays, seed, maps)
            if any(
                tuple(cell[name] for name in COLUMNS[:4]) == (*map(str, key),) for cell in cells
            ):
                continue
            settings = Settings(
                latent_layer=arguments.latent_layer,
                replays=arguments.replays,
                seed=seed,
                evaluate_every=10,
                protocol=Protocol(maps=maps),
                stream=StreamSettings(
                    data=arguments.data,
                    first_classes=10,
                    pairs_per_event=5,
                    test_sessions=tuple(arguments.test_sessions),
                ),
            )
            accuracy, seconds, extractor = learn(settings, extractor)
            cell = (*key, f"{accuracy:.3f}", f"{seconds:.1f}")
            cells.append(dict(zip(COLUMNS, map(str, cell), strict=True)))
            rows = [",".join(COLUMNS), *(",".join(one.values()) for one in cells)]
            files.write_atomic(path, "\n".join(rows) + "\n")
            print(json.dumps(cells[-1]), flush=True)


def learn(settings: Settings, extractor: Extractor | None) -> tuple[float, float, Extractor]:
    """Final accuracy, seconds of training, and the frozen stage, which the next one shares."""
    prepared = session.prepare(settings, earlier=session.Earlier(extractor))
    started = time.perf_counter()
    state = session.start(prepared)
    while int(state.position) < prepared.events:
        state, _ = session.learn_next(prepared, state)
    tested = np.bincount(prepared.test_labels, minlength=prepared.cut.classes)
    names = prepared.class_names
    curve = report.Curve(
        "", np.asarray(state.accuracy), np.asarray(state.introduced), tested, names
    )
    seconds = time.perf_counter() - started
    return curve.summary().accuracy, seconds, prepared.extractor


if __name__ == "__main__":
    raise SystemExit(cli.answer("float16_maps", main))
