"""A run learns from its user's photos, and its classes are renamed, forgotten, taken back."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from qlrjax.names import check_class
from qlrjax.runs import grow, lessons, opened
from qlrjax.runs.lessons import Lesson
from qlrjax.runs.opened import OpenRun
from qlrjax.session import Record, SessionState
from qlrjax.training import replay

_BATCH = 128


@dataclasses.dataclass(frozen=True)
class ClassInfo:
    """What is known of a class.

    Attributes:
        name: Its name.
        origin: "stream" or "photos".
        seen: Latents of it in all events so far, replays included; 0 when it is not known.
        replays: Latents of it in the replay memory.
    """

    name: str
    origin: str
    seen: int
    replays: int


def learn(run: OpenRun, label: str, images: UInt8[np.ndarray, "n h w 3"]) -> Lesson:
    """One learning event with photos of one class, and how well it went.

    Args:
        run: Its state is consumed.
        label: The class, new or known.
        images: At the network's size.

    Returns:
        Its record says, as shares of 1: `photos_accuracy`, of the photos just learned;
        `replays_accuracy` and `replays_accuracy_before`, of what the replay memory holds.
    """
    before = replays_accuracy(run, run.state)
    lesson = lessons.learn(
        run.settings, run.extractor, run.class_names, run.state, label, images, run.strategy
    )
    index = lesson.class_names.index(label)
    found = _predicted(run, lesson.state, images)
    record = {**lesson.record, "photos_accuracy": float(np.mean(found == index))}
    after = replays_accuracy(run, lesson.state)
    if before is not None:
        record["replays_accuracy_before"] = before
    if after is not None:
        record["replays_accuracy"] = after
    return dataclasses.replace(lesson, record=record | fell_back(run))


def replays_accuracy(run: OpenRun, state: SessionState) -> float | None:
    """Share of the replay memory's latents that are recognised; None when it is empty."""
    memory = state.learner.memory
    filled, right = int(memory.filled), 0
    for begin in range(0, filled, _BATCH):
        slots = jnp.arange(begin, min(begin + _BATCH, filled), dtype=jnp.int32)
        latents = np.asarray(replay.read(memory, slots))
        labels = np.asarray(memory.labels)[begin : begin + len(latents)]
        right += int((_predicted(run, state, latents, are_latents=True) == labels).sum())
    return right / filled if filled else None


def classes(run: OpenRun) -> list[ClassInfo]:
    """All classes of a run, in label order."""
    seen = np.asarray(run.strategy.past(run.state.learner.training.kept))
    replays = np.asarray(replay.class_counts(run.state.learner.memory, len(run.class_names)))
    return [
        ClassInfo(
            name=name,
            origin="stream" if index < run.facts.stream_classes else "photos",
            seen=int(seen[index]),
            replays=int(replays[index]),
        )
        for index, name in enumerate(run.class_names)
    ]


def rename(run: OpenRun, old: str, new: str) -> Lesson:
    """Another name for a class; nothing else changes.

    Raises:
        ValueError: There is no such class, or the new name is taken or none.
    """
    index = _index(run, old)
    check_class(new, "the new name")
    if new in run.class_names:
        raise ValueError(f"there is a class {new!r} already; choose another name")
    names = (*run.class_names[:index], new, *run.class_names[index + 1 :])
    return Lesson(run.state, names, {"renamed": old, "to": new} | fell_back(run))


def forget(run: OpenRun, name: str) -> Lesson:
    """A class is forgotten: its replays and its column of the head are gone.

    A class that was learned from photos disappears; one of the stream keeps its place, and is
    learned again when the stream brings it again.

    Raises:
        ValueError: There is no such class, or no other would be known.
    """
    index = _index(run, name)
    others = [info for info in classes(run) if info.seen and info.name != name]
    if not others:
        raise ValueError(f"{name!r} is the only class that is known; a run needs one")
    gone = classes(run)[index].replays
    record: Record = {"forgot": name, "replays_removed": gone} | fell_back(run)
    if index < run.facts.stream_classes:
        return Lesson(grow.forget_class(run.state, run.strategy, index), run.class_names, record)
    names = (*run.class_names[:index], *run.class_names[index + 1 :])
    return Lesson(grow.remove_class(run.state, run.strategy, index), names, record)


def undo(folder: Path, run: OpenRun) -> str:
    """Goes back to the checkpoint before the last lesson or change of the classes, and saves.

    Args:
        folder: The run's; the caller holds its lock.
        run: As it is.

    Returns:
        What was undone.

    Raises:
        ValueError: There is nothing to undo, or the checkpoint before is damaged.
        SaveFailed: It could not be written; the run is as it was.
    """
    if run.facts.before is None:
        raise ValueError(
            "there is nothing to undo: no lesson or change of the classes came last (one can be "
            "undone, and only before more events of the stream are learned)"
        )
    before = opened.open_step(folder, run.facts.before, run.strategy)
    change = run.facts.change or "the last change"
    kept = dataclasses.replace(before.facts, run=run.facts.run, before=None, change="")
    records: Sequence[Record] = (*before.records, {"undone": change} | fell_back(run))
    opened.publish(folder, run.settings, before.state, tuple(records), kept)
    return change


def fell_back(run: OpenRun) -> dict[str, Any]:
    """For the log: that this went on from an older checkpoint, because a newer one was damaged."""
    return {"went_on_from": run.step, "because": list(run.damage)} if run.damage else {}


def _index(run: OpenRun, name: str) -> int:
    if name not in run.class_names:
        raise ValueError(
            f"there is no class {name!r}; there are {', '.join(map(repr, run.class_names))}"
        )
    return run.class_names.index(name)


def _predicted(
    run: OpenRun, state: SessionState, images: np.ndarray, are_latents: bool = False
) -> np.ndarray:
    shares = lessons.probabilities(
        run.settings, run.extractor, state, images, are_latents, run.strategy
    )
    return shares.argmax(axis=1)
