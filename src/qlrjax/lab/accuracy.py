"""Accuracies of a sweep's table, by what a chip's cost depends on."""

import dataclasses
import statistics
from collections.abc import Sequence

from qlrjax.lab.table import Row

_PROTOCOL = ("epochs", "minibatch", "drop_remainder", "normalization")
_LEARNED = ("latent_layer", "replays", "bits", "frozen", "weights", "resolution")
# What may differ between the seeds of one setting.
_OF_A_SEED = ("task", "case", "seed")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One setting, learned with one or more seeds.

    Attributes:
        values: The settings that its sessions share, as in the table.
        accuracies: Final accuracy of every seed on all test images, percent.
        images: Of every event after the first.
        classes: Logits.
        data: Name of the data, and on what was tested.
    """

    values: Row
    accuracies: tuple[float, ...]
    images: int
    classes: int
    data: str

    @property
    def mean(self) -> float:
        """Mean over the seeds, percent."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, points; None for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def measured(rows: Sequence[Row]) -> list[Measured]:
    """Settings of a table, their seeds together; in the table's order.

    Raises:
        ValueError: The table lacks a column of a sweep.
    """
    groups: dict[tuple, list[Row]] = {}
    try:
        for row in rows:
            key = tuple((name, row[name]) for name in _settings_of(row))
            groups.setdefault(key, []).append(row)
        return [_measured(group) for group in groups.values()]
    except KeyError as error:
        raise ValueError(f"the table has no column {error.args[0]!r}; is it a sweep's?") from error


def _settings_of(row: Row) -> list[str]:
    """Columns that are settings: they come before the first figure."""
    names = list(row)
    if "accuracy_percent" not in names:
        raise KeyError("accuracy_percent")
    return [name for name in names[: names.index("accuracy_percent")] if name not in _OF_A_SEED]


def _measured(group: Sequence[Row]) -> Measured:
    first = group[0]
    for name in (*_LEARNED, *(f"protocol.{name}" for name in _PROTOCOL)):
        if name not in first:
            raise KeyError(name)
    return Measured(
        values={name: first[name] for name in _settings_of(first)},
        accuracies=tuple(float(row["accuracy_percent"]) for row in group),
        images=int(first["images_later_event"] or first["images_first_event"]),
        classes=int(first["classes"]),
        data=f"{first['data']}, {first['test_images']} test images, {first['classes']} classes, "
        f"{first['events']} events",
    )
