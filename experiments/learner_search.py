"""Which way to learn is best? A search on sessions that are not the test sessions, confirmed there.

Source: ours. Ravaglia et al. (JETCAS 2021) take the rates of ar1-pytorch, which are for CORe50.

Command (photos in scenes50's layout; sessions 3 and 7 are the test sessions):

    python experiments/learner_search.py --data FOLDER --out runs/search \
        --split validation --layers 27 25 --grid search --seeds 0 1 2 3 4
    python experiments/learner_search.py --data FOLDER --out runs/search \
        --split test --layers 27 25 --grid strategies --seeds 10 11 12 13 14

`--split validation` takes the test sessions away altogether and tests on sessions 2 and 6, which it
then does not learn from; `--split test` learns from all others and tests on 3 and 7. Every cell (a
setting and a seed) is a line of cells.csv; an interrupted search goes on where it stopped, and what
is in the file is not learned again. Latents are extracted once a latent layer and kept in --out.

Grids: "search" crosses normalisation, head, rates and epochs; "strategies" is the table of
docs/learner.md; "published" is ar1star-free with float replays; "admission", "bits" and
"centers" vary one thing each. `--uncentered` takes those of a grid that center features (see
`training.center`), without it. `--only WORD ...` takes those of a grid whose names hold a word
(`=NAME`: that one), and `--order-seed N` gives all seeds the same order of events. --summary prints
means, deviations and paired differences with their 95 % intervals and learns nothing.

Minutes on two idle cores: a cell of scenes50 with 500 replays takes about 0.03 at l = 27, one at
l = 25 and five at l = 19.
Verified: see docs/learner.md and experiments/results/learner_cells.csv for which cells.
"""

import argparse
import csv
import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import learner_grids
import numpy as np
from scipy import stats

from qlrjax import cli, files, latents, metrics, session
from qlrjax.integer import stagefile
from qlrjax.settings import Settings
from qlrjax.streams import cut as streams_cut
from qlrjax.streams import folder as folders
from qlrjax.streams.stream import ImageSource, Stream

TEST, VALIDATION = (3, 7), (2, 6)
COLUMNS = (
    "split",
    "latent_layer",
    "variant",
    "order_seed",
    "seed",
    "accuracy_percent",
    "average_percent",
    "forgetting_points",
    "late_swing_points",
    "replay_bytes",
    "seconds",
)
KEY = COLUMNS[:5]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--layers", type=int, nargs="+", default=[27])
    parser.add_argument("--grid", choices=tuple(learner_grids.GRIDS), default="search")
    parser.add_argument("--only", nargs="*", default=[], help="words of names, or =NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--uncentered", action="store_true", help="heads see features as they are")
    parser.add_argument("--order-seed", type=int, default=None, help="fixes the order of events")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--baseline", default="default", help="of the paired differences")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "cells.csv"
    cells = read(path)
    if not arguments.summary:
        source = folders.source(arguments.data, (128, 128))
        for layer in arguments.layers:
            learn_layer(arguments, source, layer, cells, path)
    print(summary(cells, arguments.baseline))


def learn_layer(
    arguments: argparse.Namespace,
    source: ImageSource,
    layer: int,
    cells: list[dict[str, str]],
    path: Path,
) -> None:
    done = {tuple(cell[name] for name in KEY) for cell in cells}
    caches: dict[str, session.Earlier] = {}
    # Seed by seed, so that a search that is stopped early has all settings on the same seeds.
    grid = tuple(learner_grids.GRIDS[arguments.grid](layer))
    if arguments.uncentered:
        grid = tuple(learner_grids.uncentered(grid))
    for seed, (name, chosen) in itertools.product(arguments.seeds, grid):
        if arguments.only and not any(_named(name, word) for word in arguments.only):
            continue
        order_seed = seed if arguments.order_seed is None else arguments.order_seed
        key = (arguments.split, layer, name, order_seed, seed)
        if tuple(map(str, key)) in done:
            continue
        stream = stream_of(source, arguments.split, order_seed, chosen.stream.joint)
        chosen = dataclasses.replace(chosen, latent_layer=layer, seed=seed, evaluate_every=2)
        if chosen.frozen not in caches:
            caches.clear()
            caches[chosen.frozen] = stage_and_latents(arguments.out, chosen, stream)
        row = dict(zip(KEY, key, strict=True)) | learn(chosen, stream, caches[chosen.frozen])
        cells.append({name: str(value) for name, value in row.items()})
        files.write_atomic(path, text(cells))
        print(row, flush=True)


def _named(name: str, word: str) -> bool:
    return word[1:] == name if word.startswith("=") else word in name


def stream_of(source: ImageSource, split: str, seed: int, joint: bool) -> Stream:
    """Ten classes first, five pairs an event; the validation split never sees the test sessions."""
    tests = TEST if split == "test" else VALIDATION
    away = set() if split == "test" else set(TEST)
    known = streams_cut.training_pairs(source, {*tests, *away})
    order = streams_cut.nicv2.generate_order(known, 10, 5, seed)
    stream = streams_cut.by_sessions(source, tests, order)
    events = (np.concatenate(stream.events),) if joint else stream.events
    return Stream(source, events, stream.test)


def stage_and_latents(out: Path, chosen: Settings, stream: Stream) -> session.Earlier:
    """The frozen stage and all images' latents, extracted once; the first event calibrates it."""
    name = f"l{chosen.latent_layer}-{chosen.frozen}"
    array, stage = out / f"{name}.npy", out / f"{name}.stage.npz"
    if not array.exists():
        prepared = session.prepare(chosen, stream=stream)
        rows = np.arange(len(stream.source.labels))
        found = latents.read(prepared.extractor, stream, rows, latents.InMemory(0))
        files.write_atomic(stage, stagefile.dump(prepared.extractor))
        np.save(array, found)
    extractor = stagefile.load(stage, len(stream.source.class_names))
    kept = latents.InMemory(rows=dict(enumerate(np.load(array))))
    return session.Earlier(extractor, cache=kept)


def learn(chosen: Settings, stream: Stream, earlier: session.Earlier) -> dict[str, Any]:
    """One session, tested every five events."""
    started = time.perf_counter()
    prepared = session.prepare(chosen, stream=stream, earlier=earlier)
    state = session.start(prepared)
    tested: dict[int, float] = {}
    for changed, record in session.learn_all(prepared, state):
        state = changed
        if "accuracy" in record:
            tested[record["event"]] = 100 * record["accuracy"]
    last_new = int(np.asarray(state.introduced).max())
    late = [value for event, value in tested.items() if event >= last_new]
    counts = np.bincount(prepared.test_labels, minlength=prepared.cut.classes)
    result = metrics.summarize(np.asarray(state.accuracy), np.asarray(state.introduced), counts)
    return {
        "accuracy_percent": round(result.accuracy, 3),
        "average_percent": round(result.average_accuracy, 3),
        "forgetting_points": round(result.forgetting, 3),
        "late_swing_points": round(float(np.ptp(late)), 3),
        "replay_bytes": state.learner.memory.bytes,
        "seconds": round(time.perf_counter() - started, 1),
    }


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def text(cells: list[dict[str, str]]) -> str:
    lines = [",".join(COLUMNS)]
    lines += [",".join(cell[name] for name in COLUMNS) for cell in cells]
    return "\n".join(lines) + "\n"


def summary(cells: list[dict[str, str]], baseline: str) -> str:
    """Markdown: mean and deviation over seeds, and the paired difference to the baseline."""
    groups: dict[tuple[str, int], dict[str, dict[tuple[str, str], dict[str, str]]]] = {}
    for cell in cells:
        place = groups.setdefault((cell["split"], int(cell["latent_layer"])), {})
        place.setdefault(cell["variant"], {})[cell["order_seed"], cell["seed"]] = cell
    lines = []
    for (split, layer), variants in sorted(groups.items()):
        lines += [
            f"\n{split} sessions, l = {layer}\n",
            f"| variant | seeds | accuracy (%) | against {baseline} (points) | late swing |",
            "|---|--:|--:|--:|--:|",
        ]
        ranked = sorted(variants.items(), key=lambda item: -_column(item[1]).mean())
        for name, own in ranked:
            accuracy, swing = _column(own), _column(own, "late_swing_points")
            gain = _difference(own, variants.get(baseline, {}))
            spread = accuracy.std(ddof=1) if len(accuracy) > 1 else float("nan")
            lines.append(
                f"| {name} | {len(own)} | {accuracy.mean():.2f} ± {spread:.2f} | {gain} "
                f"| {swing.mean():.2f} |"
            )
    return "\n".join(lines)


def _column(own: dict[Any, dict[str, str]], name: str = "accuracy_percent") -> np.ndarray:
    return np.array([float(cell[name] or "nan") for cell in own.values()])


def _difference(own: dict[Any, dict[str, str]], other: dict[Any, dict[str, str]]) -> str:
    """Mean of own - other over the seeds that both have, with its 95 % interval."""
    both = [key for key in own if key in other]
    if own is other or len(both) < 2:
        return ""
    name = "accuracy_percent"
    gains = np.array([float(own[key][name]) - float(other[key][name]) for key in both])
    half = stats.t.ppf(0.975, len(both) - 1) * gains.std(ddof=1) / np.sqrt(len(both))
    return f"{gains.mean():+.2f} ± {half:.2f}"


if __name__ == "__main__":
    raise SystemExit(cli.answer("learner_search", main))
