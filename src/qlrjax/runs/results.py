"""What a finished run leaves for people: the accuracy matrix and a summary of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files, report
from qlrjax.runs import marker
from qlrjax.session import Record, Session, SessionState

_SIZE_LIMIT_BYTES = 16 * 2**20


def curve(session: Session, state: SessionState, name: str) -> report.Curve:
    """A session as the report shows it."""
    return report.Curve(
        name=name,
        matrix=np.asarray(state.accuracy),
        introduced=np.asarray(state.introduced),
        test_counts=np.bincount(session.test_labels, minlength=len(session.class_names)),
        class_names=session.class_names,
    )


def test_sessions(session: Session) -> list[int]:
    """Numbers of the sessions that the test images are from."""
    return np.unique(session.stream.source.sessions[session.stream.test]).tolist()


def write(session: Session, state: SessionState, records: Sequence[Record], folder: Path) -> None:
    """Writes accuracy.csv and summary.json.

    Args:
        session: What the run worked on.
        state: After the last event.
        records: The log, lessons from photos among it.
        folder: The run's.

    Raises:
        OSError: One could not be written.
    """
    shown, memory = curve(session, state, "run"), state.learner.memory
    extra = {
        "events": session.events,
        "test_images": len(session.stream.test),
        "test_sessions": test_sessions(session),
        "replay_bytes": memory.bytes,
        "replays": memory.slots,
        "bits": memory.bits,
        **report.standard_values(shown),
        **costs(session, records, memory.bytes),
        **lessons_of(records),
    }
    files.write_atomic(folder / marker.ACCURACY, report.accuracy_csv(shown))
    files.write_atomic(folder / marker.SUMMARY, report.summary_json(shown, extra))


def costs(session: Session, records: Sequence[Record], replay_bytes: int) -> dict[str, Any]:
    """Replay RAM and multiply-accumulates, counted from the layers' shapes.

    Every image passes the frozen stage once; every sample of a mini-batch passes the adaptive stage
    forwards, and twice backwards but for the input gradient of the first trained layer. The head
    has the stream's classes: lessons are not counted.
    """
    classes = len(session.stream.source.class_names)
    cut, protocol = session.cut.with_classes(classes), session.settings.protocol
    frozen, forward = (sum(layer.macs for layer in part) for part in (cut.below, cut.above))
    images = sum(record.get("images", 0) for record in records if "event" in record)
    batches = sum(record.get("minibatches", 0) for record in records if "event" in record)
    sample = 3 * forward - cut.above[0].macs
    return {
        "replay_RAM_MB": round(replay_bytes / 1e6, 3),
        "frozen_GMACs": round(images * frozen / 1e9, 3),
        "adaptive_GMACs": round(batches * protocol.minibatch * sample / 1e9, 3),
    }


def refresh(
    folder: Path, accuracy: np.ndarray, class_names: Sequence[str], records: Sequence[Record]
) -> None:
    """Brings what a finished run has left up to date after a lesson, or a change of its classes.

    What was measured on the stream's test images stays as it was; lessons are added to it.

    Args:
        folder: The run's; what is not there, or not legible, is left alone.
        accuracy: float32[events, classes].
        class_names: In label order.
        records: The log.

    Raises:
        OSError: A file could not be written.
    """
    if (folder / marker.ACCURACY).is_file():
        files.write_atomic(folder / marker.ACCURACY, report.matrix_csv(accuracy, class_names))
    try:
        summary = json.loads(files.read(folder / marker.SUMMARY, _SIZE_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(summary, dict):
        summary.pop("lessons", None)
        text = json.dumps(summary | lessons_of(records), indent=2) + "\n"
        files.write_atomic(folder / marker.SUMMARY, text)


def lessons_of(records: Sequence[Record]) -> dict[str, Any]:
    """The lessons from photos of a log, under a name of their own; nothing without any."""
    wanted = ("learned_from_photos", "images", "photos_accuracy", "replays_accuracy")
    lessons = [
        {key: record[key] for key in wanted if key in record}
        for record in records
        if "learned_from_photos" in record
    ]
    return {"lessons": lessons} if lessons else {}
