"""`qlrjax evaluate`: accuracy on a folder of labelled photos, class by class."""

import dataclasses
import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from rich.console import Console

from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.streams.photos import left_out

if TYPE_CHECKING:  # what loads JAX waits until the words are understood
    from qlrjax.runs.evaluation import Evaluation

_CONFUSION_SHOWN_UP_TO = 8
_NAME_AT_MOST = 24


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Accuracy of a run on photos that lie in folders called as its classes are.

    Attributes:
        run: The run's folder.
        folder: object/images or session/object/images.
        json: Print JSON and nothing else, the confusion matrix included.
        csv: Print CSV and nothing else: a row a class, with its row of the confusion matrix.
        strict: Stop at a photo that cannot be read, or a folder of no known class.
    """

    run: tyro.conf.Positional[Path]
    folder: tyro.conf.Positional[Path]
    json: bool = False
    csv: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other; give one of them")


def main(words: Sequence[str]) -> int:
    """Prints what was recognised and what was taken for what."""
    arguments = parse_arguments(Arguments, words, "qlrjax evaluate")
    from qlrjax.runs import evaluation, opened

    console = Console(stderr=True)
    run = opened.open_run(arguments.run)
    show.notes(console, run.notes)
    with show.progress(console) as (on_progress, _):
        found = evaluation.evaluate(run, arguments.folder, arguments.strict, on_progress)
    if found.bad:
        show.notes(console, [left_out(found.bad, found.images + len(found.bad))])
    if found.unknown:
        names = ", ".join(f"{name!r} ({count})" for name, count in found.unknown.items())
        show.notes(console, [f"photos of classes that the run does not have: {names}"])
    if arguments.json:
        print(json_text.dumps(values(found), indent=2))
    elif arguments.csv:
        columns = ("class", "images", "right", "accuracy_percent", *found.class_names)
        rows = [(*row[:4], *map(int, found.confusion[i])) for i, row in enumerate(_rows(found))]
        print(show.csv_text(columns, rows), end="")
    else:
        _print(Console(), found)
    return 0


def values(found: "Evaluation") -> dict:
    """Everything as plain JSON values."""
    keys = ("class", "images", "right", "accuracy_percent", "most_often_taken_for")
    return {
        "images": found.images,
        "accuracy_percent": round(100 * found.accuracy, 3),
        "classes": [dict(zip(keys, row, strict=True)) for row in _rows(found)],
        "confusion": {
            "rows_are": "the folder's class",
            "columns_are": "what the run takes it for",
            "class_names": list(found.class_names),
            "images": found.confusion.tolist(),
        },
        "left_out": [{"photo": str(bad.path), "reason": bad.reason} for bad in found.bad],
        "unknown_classes": found.unknown,
    }


def _rows(found: "Evaluation") -> list[tuple]:
    """A row a class: name, images, right ones, percent, and what it is most often mistaken for."""
    rows = []
    for index, name in enumerate(found.class_names):
        counts = found.confusion[index]
        images, right = int(counts.sum()), int(counts[index])
        wrong = np.where(np.arange(len(counts)) == index, 0, counts)
        other = found.class_names[int(wrong.argmax())] if wrong.any() else None
        percent = round(100 * right / images, 1) if images else None
        rows.append((name, images, right, percent, other))
    return rows


def _print(console: Console, found: "Evaluation") -> None:
    columns = ("class", "images", "right", "accuracy (%)", "most often taken for")
    rows = [[_cell(cell) for cell in row] for row in _rows(found) if row[1]]
    title = f"{100 * found.accuracy:.1f} % of {found.images} photos are recognised"
    console.print(show.table(title, columns, rows))
    if len(found.class_names) <= _CONFUSION_SHOWN_UP_TO:
        names = [_cell(name) for name in found.class_names]
        matrix = [[name, *map(int, row)] for name, row in zip(names, found.confusion, strict=True)]
        console.print(show.table("taken for", ["", *names], matrix))
    else:
        console.print("the confusion matrix is in --csv and --json")


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _NAME_AT_MOST else f"{text[: _NAME_AT_MOST - 1]}…"
