"""`qlrjax learn` and `qlrjax predict`: a user's own photos."""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from qlrjax.cli.arguments import parse_arguments
from qlrjax.runs import lessons, run
from qlrjax.streams.photos import find_photos


@dataclasses.dataclass(frozen=True)
class LearnArguments:
    """Teach a run a class from photos: a new one, or more of a known one.

    Attributes:
        run: The run's folder, finished or interrupted.
        photos: Photos, or folders of photos; any size.
        label: Name of the class.
    """

    run: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[tuple[Path, ...]]
    label: str


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """Say what is on photos.

    Attributes:
        run: The run's folder.
        photos: Photos, or folders of photos.
        top: How many classes to name.
        json: Print JSON instead of text.
    """

    run: tyro.conf.Positional[Path]
    photos: tyro.conf.Positional[tuple[Path, ...]]
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    json: bool = False


def learn(words: Sequence[str]) -> int:
    """Learns one event of photos and saves the run."""
    arguments = parse_arguments(LearnArguments, words, "qlrjax learn")
    if not arguments.photos:
        raise ValueError("no photos were given; name photos or folders of them after the run")
    label = arguments.label.strip()
    if not label or not label.isprintable():
        raise ValueError(f"--label {arguments.label!r} is no name; give the class one on one line")
    with run.editing(arguments.run) as opened:
        images = lessons.read_photos(arguments.photos, opened.extractor.cut.network)
        known = label in opened.class_names
        started = time.perf_counter()
        lesson = lessons.learn(
            opened.settings, opened.extractor, opened.class_names, opened.state,
            label, images,
        )  # fmt: skip
        run.save_run(arguments.run, opened, lesson)
    seconds = time.perf_counter() - started
    what = "more of" if known else "the new class"
    print(
        f"learned {what} {label!r} from {len(images)} photos in {seconds:.1f} s; "
        f"{len(lesson.class_names)} classes are known"
    )
    return 0


def predict(words: Sequence[str]) -> int:
    """Prints the likeliest classes of every photo."""
    arguments = parse_arguments(PredictArguments, words, "qlrjax predict")
    if arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}; it must be at least 1")
    opened = run.open_run(arguments.run)
    for note in opened.notes:
        print(f"note: {note}", file=sys.stderr)
    files = [file for path in arguments.photos for file in find_photos(path)]
    if not files:
        raise ValueError("no photos were given; name photos or folders of them after the run")
    images = lessons.read_photos(files, opened.extractor.cut.network)
    shares = lessons.probabilities(opened.settings, opened.extractor, opened.state, images)
    answers = []
    for file, row in zip(files, shares, strict=True):
        best = np.argsort(-row, kind="stable")[: arguments.top]
        classes = [
            {"class": opened.class_names[i], "probability": round(float(row[i]), 6)} for i in best
        ]
        answers.append({"photo": str(file), "classes": classes})
    if arguments.json:
        print(json.dumps(answers, indent=2))
        return 0
    for answer in answers:
        text = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in answer["classes"])
        print(f"{answer['photo']}: {text}")
    return 0
