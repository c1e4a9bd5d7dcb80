"""Teach finished sessions objects they have never seen, from 20 photos each, and count the cost.

Source: ours; the practical use of the method. A new class should take seconds, and the old classes
lose nothing measurable.

Command (photos in scenes50's layout: session/object/images, sessions 3 and 7 are the test set):

    python experiments/own_photos.py --data FOLDER --out runs/own

Objects are kept back in groups of five, so that every object is once a late one. A session learns
the others from its stream; then the five are taught one after the other, each from 20 photos spread
over the training sessions, and asked for on the test sessions. The control is one session that has
all objects in its stream: what the old classes lose merely because there are more to choose from.

Expected: a new class takes seconds; the old ones lose about what they lose in the control.
results/own_photos.csv has every object.
Minutes on 2 cores: 8 for 50 objects. It goes on where it stopped.
Verified: yes, on scenes50 at l = 27 with seed 0.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax import cli, files, report, session
from qlrjax.runs import interrupt, lessons, run
from qlrjax.settings import Settings, StreamSettings
from qlrjax.streams import folder as folders
from qlrjax.streams.stream import ImageSource


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test-sessions", type=int, nargs="+", default=[3, 7])
    parser.add_argument("--unseen", type=int, default=5, help="objects kept from a session")
    parser.add_argument("--groups", type=int, default=None, help="how many groups; default: all")
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--latent-layer", type=int, default=27)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    everything = folders.source(arguments.data, (128, 128))
    names = everything.class_names
    groups = [names[i : i + arguments.unseen] for i in range(0, len(names), arguments.unseen)]
    rows = []
    with interrupt.catch() as stop:
        chosen = settings(arguments, arguments.data, len(names))
        control = run.run(chosen, arguments.out / "all", stop=stop)
        if not control.finished:
            return stop.exit_code
        streamed = dict(zip(names, 100 * np.asarray(control.state.accuracy)[-1], strict=True))
        for unseen in groups[: arguments.groups]:
            folder = arguments.out / f"without-{unseen[0]}-to-{unseen[-1]}"
            known = link_others(arguments.data, folder / "photos", unseen)
            chosen = settings(arguments, known, len(names) - len(unseen))
            outcome = run.run(chosen, folder / "run", stop=stop)
            if not outcome.finished:
                return stop.exit_code
            rows += teach(arguments, chosen, folder / "run", outcome.session, everything, unseen)
            old = [streamed[name] for name in outcome.session.class_names]
            rows[-1]["control_old_percent"] = round(float(np.mean(old)), 3)
    report.write_table(arguments.out, rows)
    files.write_atomic(arguments.out / "own_photos.png", picture(rows))
    print(sentence(rows, arguments.unseen))
    return 0


def settings(arguments: argparse.Namespace, data: Path, classes: int) -> Settings:
    """Five pairs an event; a fifth of the classes in the first event, 10 of 50."""
    return Settings(
        latent_layer=arguments.latent_layer,
        evaluate_every=1000,
        stream=StreamSettings(
            data=f"folder:{data}",
            first_classes=max(classes // 5, 1),
            pairs_per_event=5,
            test_sessions=tuple(arguments.test_sessions),
        ),
    )


def link_others(data: Path, known: Path, unseen: Sequence[str]) -> Path:
    """A folder of links to all objects but the unseen ones."""
    for path in sorted(path for path in data.iterdir() if path.is_dir()):
        (known / path.name).mkdir(parents=True, exist_ok=True)
        for item in path.iterdir():
            link = known / path.name / item.name
            if item.is_dir() and item.name not in unseen and not link.exists():
                link.symlink_to(item.resolve(), target_is_directory=True)
    return known


def teach(
    arguments: argparse.Namespace,
    chosen: Settings,
    folder: Path,
    prepared: session.Session,
    everything: ImageSource,
    unseen: Sequence[str],
) -> list[dict[str, Any]]:
    """Teaches the unseen objects one after the other; a row each, all with the same keys."""
    opened = run.open_run(folder)
    state, names = opened.state, opened.class_names
    is_test = np.isin(everything.sessions, arguments.test_sessions)
    before = old_accuracy(prepared, state)
    rows = []
    for name in unseen:
        mine = everything.labels == everything.class_names.index(name)
        spread = np.flatnonzero(mine & ~is_test)
        spread = spread[np.linspace(0, len(spread) - 1, arguments.photos).round().astype(int)]
        images = everything.read(spread)
        started = time.perf_counter()
        lesson = lessons.learn(chosen, opened.extractor, names, state, name, images)
        seconds = time.perf_counter() - started
        state, names = lesson.state, lesson.class_names
        asked = everything.read(np.flatnonzero(mine & is_test))
        shares = lessons.probabilities(chosen, opened.extractor, state, asked)
        after = old_accuracy(prepared, state)
        rows.append(
            {
                "object": name,
                "learned_seconds": round(seconds, 2),
                "new_percent": round(100 * float(np.mean(shares.argmax(1) == len(names) - 1)), 3),
                "old_percent_before": before,
                "old_percent": after,
                "control_old_percent": None,
            }
        )
        print(rows[-1], flush=True)
        before = after
    return rows


def old_accuracy(prepared: session.Session, state: session.SessionState) -> float:
    """Accuracy on the old classes' test images, in percent, with all classes to choose from."""
    shares = lessons.probabilities(
        prepared.settings, prepared.extractor, state, prepared.test_latents, are_latents=True
    )
    return round(100 * float(np.mean(shares.argmax(axis=1) == prepared.test_labels)), 3)


def ends(rows: Sequence[dict[str, Any]], unseen: int) -> np.ndarray:
    """Old classes' accuracy of every group: before, after its last object, and the control's."""
    groups = [rows[i : i + unseen] for i in range(0, len(rows), unseen)]
    return np.array(
        [
            (
                group[0]["old_percent_before"],
                group[-1]["old_percent"],
                group[-1]["control_old_percent"],
            )
            for group in groups
        ]
    )


def sentence(rows: Sequence[dict[str, Any]], unseen: int) -> str:
    new = np.array([row["new_percent"] for row in rows])
    seconds = np.median([row["learned_seconds"] for row in rows])
    before, after, control = ends(rows, unseen).mean(axis=0)
    return (
        f"{len(rows)} objects: recognised in {new.mean():.1f} % of unseen photos (quartiles "
        f"{', '.join(f'{q:.0f}' for q in np.percentile(new, [25, 50, 75]))} %), learned in "
        f"{seconds:.1f} s (median); old classes {before:.1f} % before, {after:.1f} % after "
        f"{unseen} new ones, {control:.1f} % where the stream had all of them"
    )


def picture(rows: Sequence[dict[str, Any]]) -> bytes:
    """Every object's recognition, sorted; beside it what the old classes kept."""
    unseen = next(i for i, row in enumerate(rows, 1) if row["control_old_percent"] is not None)
    figure = Figure(figsize=(9, 3.8), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    objects, kept = figure.subplots(1, 2, width_ratios=[1.6, 1])
    new = sorted((row["new_percent"] for row in rows), reverse=True)
    objects.bar(range(1, len(new) + 1), new, color="#1b6ca8")
    objects.axhline(float(np.mean(new)), color="black", lw=1, ls="--")
    objects.annotate(
        f"mean {np.mean(new):.0f} %",
        (len(new) + 1, float(np.mean(new))),
        (0, 4),
        textcoords="offset points",
        ha="right",
    )
    objects.set(xlabel="objects taught late, sorted", ylabel="recognised in unseen photos (%)")
    labels = ["before", f"after {unseen}\nnew classes", "all in\nthe stream"]
    groups = ends(rows, unseen)
    for number, line in enumerate(groups):
        each = f"each of {len(groups)} sessions" if number == 0 else None
        kept.plot(labels, line, color="0.7", marker="o", ms=3, label=each)
    kept.plot(labels, groups.mean(axis=0), color="#c8553d", marker="o", lw=2, label="their mean")
    kept.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    kept.set(ylabel="accuracy on the old classes (%)")
    for axis in (objects, kept):
        axis.spines[["top", "right"]].set_visible(False)
    return report.png(figure)


if __name__ == "__main__":
    raise SystemExit(cli.answer("own_photos", main))
