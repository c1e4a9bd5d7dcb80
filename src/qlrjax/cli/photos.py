"""`qlrjax learn` and `qlrjax predict`: a user's own photos."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.console import Console

from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.names import check_class, printable
from qlrjax.runs import interrupt
from qlrjax.runs.runfolder import Record
from qlrjax.streams.photos import Photos, find_photos, left_out, read_all

if TYPE_CHECKING:  # what loads JAX waits until the words are understood
    from qlrjax.runs.lessons import Lesson
    from qlrjax.runs.opened import OpenRun


@dataclasses.dataclass(frozen=True)
class LearnArguments:
    """Teach a run a class from photos: a new one, or more of a known one.

    Attributes:
        run: The run's folder, finished or interrupted.
        photos: Photos, or folders of photos (theirs, too); any size.
        label: Name of the class.
        strict: Learn nothing if a photo cannot be read, instead of leaving it out.
    """

    run: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[tuple[Path, ...]]
    label: str
    strict: bool = False


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """Say what is on photos.

    Attributes:
        run: The run's folder.
        photos: Photos, or folders of photos (theirs, too).
        top: How many classes to name.
        json: Print JSON instead of text.
        strict: Stop if a photo cannot be read, instead of leaving it out.
    """

    run: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[tuple[Path, ...]]
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    json: bool = False
    strict: bool = False


def learn(words: Sequence[str], stop: interrupt.Stop) -> int:
    """Learns one event of photos and saves the run; exit code 0, or 130 and 143 when stopped."""
    arguments = parse_arguments(LearnArguments, words, "qlrjax learn")
    if not arguments.photos:
        raise ValueError("no photos were given; name photos or folders of them after the run")
    check_class(arguments.label, "--label")
    from qlrjax.runs import opened, teach

    label = arguments.label.strip()
    console = Console(stderr=True)
    try:
        with opened.editing(arguments.run) as run, show.progress(console) as (on_progress, _):
            show.notes(console, run.notes)
            photos = _read(arguments.photos, run.in_hw, arguments.strict, console)
            known = label in run.class_names
            started = time.perf_counter()
            stop.check()
            on_progress("learning", 0, 1)
            lesson = teach.learn(run, label, photos.images)
            stop.check()  # the last moment at which nothing has changed
            opened.save(arguments.run, run, lesson, f"the lesson {label!r}")
            on_progress("learning", 1, 1)
            seconds = time.perf_counter() - started
    except interrupt.Interrupted:
        console.print("stopped; nothing was learned and the run is as it was")
        return stop.exit_code
    what = "more of" if known else "the new class"
    print(
        f"learned {what} {label!r} from {len(photos.images)} photos in {seconds:.1f} s; "
        f"{len(lesson.class_names)} classes are known"
    )
    print(_how_well(lesson.record))
    print(f"take it back with: qlrjax classes {printable(arguments.run)} undo")
    _refresh(arguments.run, run, lesson)
    return 0


def predict(words: Sequence[str]) -> int:
    """Prints the likeliest classes of every photo."""
    arguments = parse_arguments(PredictArguments, words, "qlrjax predict")
    if arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}; it must be at least 1")
    if not arguments.photos:
        raise ValueError("no photos were given; name photos or folders of them after the run")
    from qlrjax.runs import lessons, opened

    console = Console(stderr=True)
    run = opened.open_run(arguments.run)
    show.notes(console, run.notes)
    photos = _read(arguments.photos, run.in_hw, arguments.strict, console)
    shares = lessons.probabilities(
        run.settings, run.extractor, run.state, photos.images, strategy=run.strategy
    )
    answers = []
    for file, row in zip(photos.paths, shares, strict=True):
        best = np.argsort(-row, kind="stable")[: arguments.top]
        classes = [
            {"class": run.class_names[i], "probability": round(float(row[i]), 6)} for i in best
        ]
        answers.append({"photo": str(file), "classes": classes})
    if arguments.json:
        print(json.dumps(answers, indent=2))
        return 0
    for answer in answers:
        text = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in answer["classes"])
        print(f"{printable(answer['photo'])}: {text}")
    return 0


def _read(paths: Sequence[Path], in_hw: tuple[int, int], strict: bool, console: Console) -> Photos:
    """The photos; those that cannot be read are named and counted."""
    files = [file for path in paths for file in find_photos(path)]
    photos = read_all(files, in_hw, strict)
    if photos.bad:
        show.notes(console, [left_out(photos.bad, len(files))])
    return photos


def _how_well(record: Record) -> str:
    """How well a lesson went, from its record."""
    text = f"recognised now: {100 * record['photos_accuracy']:.1f} % of these photos"
    if "replays_accuracy" in record:
        text += f", {100 * record['replays_accuracy']:.1f} % of the replay memory"
    if "replays_accuracy_before" in record:
        text += f" (before: {100 * record['replays_accuracy_before']:.1f} %)"
    return text


def _refresh(folder: Path, run: "OpenRun", lesson: "Lesson") -> None:
    """Brings summary.json and accuracy.csv up to date."""
    from qlrjax.runs import results

    records = (*run.records, lesson.record)
    results.refresh(folder, np.asarray(lesson.state.accuracy), lesson.class_names, records)
