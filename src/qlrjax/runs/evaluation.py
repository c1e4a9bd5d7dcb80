"""How well a run recognises labelled photos that it may never have seen."""

import collections
import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from qlrjax.runs import lessons
from qlrjax.runs.opened import OpenRun
from qlrjax.streams import layout
from qlrjax.streams.layout import Labelled, Progress
from qlrjax.streams.photos import Bad, read_all

_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a run said of labelled photos.

    Attributes:
        class_names: Of the run, in label order.
        confusion: Photos by their folder's class (rows) and by what the run takes them for.
        bad: Photos that could not be read.
        unknown: Photos in folders of classes that the run does not have, by class.
    """

    class_names: tuple[str, ...]
    confusion: Int64[np.ndarray, "classes classes"]
    bad: tuple[Bad, ...]
    unknown: dict[str, int]

    @property
    def images(self) -> int:
        """Photos that were looked at."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of them that are recognised."""
        return float(np.trace(self.confusion)) / self.images


def evaluate(
    run: OpenRun, root: Path, strict: bool = False, on_progress: Progress | None = None
) -> Evaluation:
    """Looks at all photos of a folder.

    Args:
        run: What to ask.
        root: object/images or session/object/images, objects called as the run's classes are.
        strict: A bad photo, or a folder of an unknown class, is an error.
        on_progress: Called with (what, done, total).

    Raises:
        ValueError: There are no photos of the run's classes; or, if that is strict, see there.
    """
    found = layout.find(root)
    unknown = dict(
        collections.Counter(row.item for row in found.photos if row.item not in run.class_names)
    )
    rows = [row for row in found.photos if row.item in run.class_names]
    if not rows or (strict and unknown):
        raise ValueError(
            f"{root} has folders {', '.join(map(repr, list(unknown)[:5]))}, which are no classes "
            f"of the run; it has {', '.join(map(repr, run.class_names[:50]))}"
        )
    confusion = np.zeros((len(run.class_names),) * 2, np.int64)
    bad: list[Bad] = []
    for begin in range(0, len(rows), _AT_ONCE):
        bad += _count(run, rows[begin : begin + _AT_ONCE], strict, confusion)
        if on_progress:
            on_progress("photos", min(begin + _AT_ONCE, len(rows)), len(rows))
    if not confusion.any():
        raise ValueError(bad[0].reason)
    return Evaluation(run.class_names, confusion, tuple(bad), unknown)


def _count(
    run: OpenRun, rows: list[Labelled], strict: bool, confusion: np.ndarray
) -> tuple[Bad, ...]:
    """Adds some photos to the confusion matrix; returns those that could not be read."""
    try:
        photos = read_all([row.path for row in rows], run.in_hw, strict)
    except ValueError as error:
        if strict:
            raise
        return tuple(Bad(row.path, str(error)) for row in rows)  # not one of them could be read
    label_of = {row.path: run.class_names.index(row.item) for row in rows}
    labels = np.array([label_of[path] for path in photos.paths])
    shares = lessons.probabilities(
        run.settings, run.extractor, run.state, photos.images, strategy=run.strategy
    )
    np.add.at(confusion, (labels, shares.argmax(axis=1)), 1)
    return photos.bad
