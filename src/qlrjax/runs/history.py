"""What a report shows over time and the learner does not need: one line a learned event.

A line holds what replay memory held of every class after the event and, where it was tested, the
confusion matrix. It is written before the event's checkpoint, so a killed run can write an event
again when it goes on; the last line of an event counts. Runs from before have no such file.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from qlrjax import files
from qlrjax.runs import marker
from qlrjax.session import Record
from qlrjax.training.replay import ReplayMemory

_SIZE_LIMIT_BYTES = 2**30
Cell = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Moment:
    """After one event.

    Attributes:
        replays: Latents in replay memory by class; missing classes have none.
        confusion: (class, predicted class, test images) where there are any; empty where the event
            was not tested.
    """

    replays: tuple[int, ...]
    confusion: tuple[Cell, ...]


def add(folder: Path, record: Record, memory: ReplayMemory) -> Record:
    """Writes an event's line; the record without what only the line keeps.

    Raises:
        OSError: It could not be written.
    """
    labels = np.asarray(memory.labels)
    line = {
        "event": record["event"],
        "replays": np.bincount(labels[labels >= 0]).tolist(),
        "confusion": record.get("confusion", []),
    }
    files.append(folder / marker.HISTORY, json.dumps(line, separators=(",", ":")))
    return {name: value for name, value in record.items() if name != "confusion"}


def read(folder: Path) -> dict[int, Moment]:
    """Moments by event; lines that are cut off or senseless are left out."""
    found: dict[int, Moment] = {}
    try:
        data = files.read(folder / marker.HISTORY, _SIZE_LIMIT_BYTES)
    except (OSError, ValueError):
        return found
    for line in data.decode(errors="replace").splitlines():
        try:
            values = json.loads(line)
            moment = Moment(
                tuple(_count(value) for value in values["replays"]),
                tuple((_count(t), _count(p), _count(n)) for t, p, n in values["confusion"]),
            )
            found[_count(values["event"])] = moment
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    return found


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 10**9:
        raise ValueError(f"{value!r} is not a count")
    return value
