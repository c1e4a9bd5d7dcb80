"""A run's figures as TensorBoard event files, under the names that people look for.

The files are made anew whenever a run is started or gone on with, from the records of its log, so
that no event is in them twice. They carry the run's id in their names, and no others are removed.
What needs to know which class came when is added at the end.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import metrics
from qlrjax.runs import marker

Record = Mapping[str, Any]


def live(record: Record) -> dict[str, float]:
    """Tag to value of one event; accuracies in percent."""
    values = {
        "loss/first_minibatch": record["loss_first"],
        "loss/last_minibatch": record["loss_last"],
        "replay/RAM_MB": record["replay_bytes"] / 1e6,
        "replay/latents": record["replays_filled"],
    }
    if "accuracy" in record:
        values["accuracy/all_test_images"] = 100 * record["accuracy"]
        values["ACC"] = 100 * record["seen_accuracy"]
    return values


def over_time(records: Sequence[Record], class_names: Sequence[str]) -> list[dict[str, float]]:
    """BWT, FWT, forgetting and LA (see `metrics.Standard`) of every event; empty if not tested.

    Args:
        records: Of all events, in order.
        class_names: In label order.
    """
    matrix = np.full((len(records), len(class_names)), np.nan)
    introduced = np.full(len(class_names), len(records))
    places = {name: label for label, name in enumerate(class_names)}
    found: list[dict[str, float]] = []
    for event, record in enumerate(records):
        for name in record["classes"]:
            label = places[name]
            introduced[label] = min(introduced[label], event)
        if "accuracy" not in record:
            found.append({})
            continue
        shares = [np.nan if value is None else value for value in record["class_accuracy"]]
        matrix[event, : len(shares)] = shares
        tested = (~np.isnan(matrix[event])).astype(int)
        summary = metrics.standard(matrix[: event + 1], introduced, tested)
        found.append(
            {
                "BWT": summary.bwt,
                "FWT": summary.fwt,
                "forgetting": summary.forgetting,
                "LA": summary.learning_accuracy,
            }
        )
    return found


class Writer:
    """Writes event files; steps are events from 1."""

    def __init__(self, writer: Any) -> None:
        """See `writing`."""
        self._writer = writer

    def event(self, record: Record) -> None:
        """What is known of an event as soon as it is learned."""
        self._add(live(record), record["event"])

    def finish(self, records: Sequence[Record], class_names: Sequence[str]) -> None:
        """The rest, of all events."""
        events = [record for record in records if "event" in record]
        for record, values in zip(events, over_time(events, class_names), strict=True):
            self._add(values, record["event"])

    def _add(self, values: Mapping[str, float], event: int) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, event + 1)
        self._writer.flush()


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Event files in the folder tensorboard of a run's folder, which is the run's already.

    Raises:
        ValueError: tensorboardX is not installed.
        OSError: The folder cannot be written to.
    """
    check()
    from tensorboardX import SummaryWriter

    place = folder / marker.TENSORBOARD
    if place.is_symlink():
        raise ValueError(f"{place} is a link, and a run's own files are none; remove it")
    place.mkdir(parents=True, exist_ok=True)
    own = marker.read(folder)
    suffix = f".{own.id if own else 'qlrjax'}"
    for old in place.glob(f"events.out.tfevents.*{suffix}"):
        if old.is_file() or old.is_symlink():
            old.unlink()
    writer = SummaryWriter(str(place), filename_suffix=suffix)
    try:
        yield Writer(writer)
    finally:
        writer.close()


def check() -> None:
    """Whether event files can be written here.

    Raises:
        ValueError: tensorboardX is not installed.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs tensorboardX, which is not installed; "
            "install it with: pip install 'qlrjax[tensorboard]'"
        ) from error
