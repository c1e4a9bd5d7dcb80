"""From the name of a data source to a stream of learning events."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from qlrjax.streams import builtin, core50, folder, synthetic
from qlrjax.streams.stream import Stream


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """Where images come from and how they are cut into learning events.

    Attributes:
        data: "builtin" (Fashion-MNIST), a folder of photos, "core50:PATH", "folder:PATH",
            "tfds:NAME" or "synthetic:...".
        order: "auto"; "nicv2_79", "nicv2_196" or "nicv2_391" for CORe50's official orders; or
            "generated" for the NICv2 rule with the session's seed.
        run: Which official order, 0 to 9.
        first_classes: Classes of the first event, where the order is generated.
        pairs_per_event: (session, class) pairs of every later event, likewise.
        test_sessions: Sessions never trained on; empty takes the data's own split.
        sessions: Slices that a class is cut into, where the data has no sessions of its own.
        joint: All events as one, the upper bound of continual learning.
        reduced_test: Every 20th test image only (CORe50's reduced test set).
        train_per_class: At most so many training images a class, built-in data only; 0 is all.
        test_per_class: Likewise of the test set.
        data_dir: Where tensorflow-datasets or a CORe50 cache lies; empty is their default.
    """

    data: str = "builtin"
    order: Literal["auto", "nicv2_79", "nicv2_196", "nicv2_391", "generated"] = "auto"
    run: int = 0
    first_classes: int = 2
    pairs_per_event: int = 1
    test_sessions: tuple[int, ...] = ()
    sessions: int = 4
    joint: bool = False
    reduced_test: bool = False
    train_per_class: int = 0
    test_per_class: int = 0
    data_dir: str = ""

    def __post_init__(self) -> None:
        for name in ("first_classes", "pairs_per_event", "sessions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("train_per_class", "test_per_class"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 (all) or more")
        if not 0 <= self.run <= 9:
            raise ValueError(f"run is {self.run}; the official orders have runs 0 to 9")


def open_stream(settings: StreamSettings, resolution: int, seed: int) -> Stream:
    """Opens the data and cuts it into events.

    With `joint`, all of them are one.

    Args:
        settings: Which data and how.
        resolution: Side of the images, pixels.
        seed: Of a generated order.

    Raises:
        ValueError: The data is not there, is damaged, or cannot be cut that way.
    """
    stream = _open(settings, resolution, seed)
    if settings.joint:
        return Stream(stream.source, (np.concatenate(stream.events),), stream.test)
    return stream


def _open(settings: StreamSettings, resolution: int, seed: int) -> Stream:
    kind, _, place = settings.data.partition(":")
    size = (resolution, resolution)
    match kind:
        case "builtin":
            return builtin.stream(
                size, settings.sessions, settings.first_classes, settings.pairs_per_event, seed,
                settings.train_per_class, settings.test_per_class,
            )  # fmt: skip
        case "synthetic":
            return synthetic.stream(
                place, size, settings.first_classes, settings.pairs_per_event, seed
            )
        case "folder":
            return _open_folder(settings, Path(place), size, seed)
        case "core50":
            return _open_core50(settings, Path(place), size, seed)
    path = Path(settings.data)
    if path.is_dir():
        return _open_folder(settings, path, size, seed)
    raise ValueError(
        f"there is no data {settings.data!r}; give 'builtin', a folder of photos, 'core50:PATH', "
        "'tfds:NAME' or 'synthetic:CLASSESxSESSIONSxFRAMES'"
    )


def _open_core50(settings: StreamSettings, path: Path, size: tuple[int, int], seed: int) -> Stream:
    cache = Path(settings.data_dir) if settings.data_dir else None
    images = core50.source(path, size, cache)
    official = settings.order.removeprefix("nicv2_")
    scenario = int(official) if official.isdigit() else None
    if settings.order == "auto" and len(images.labels) > 160_000:
        scenario = 391
    return core50.stream(
        images, scenario, settings.run, settings.reduced_test, settings.test_sessions,
        settings.first_classes, settings.pairs_per_event, seed,
    )  # fmt: skip


def _open_folder(settings: StreamSettings, path: Path, size: tuple[int, int], seed: int) -> Stream:
    return folder.stream(
        path, size, settings.sessions, settings.test_sessions, settings.first_classes,
        settings.pairs_per_event, seed,
    )  # fmt: skip
