"""Any image classification data of tensorflow-datasets, prepared as array_record.

Only reads what is on disk, needs no TensorFlow for it, and never downloads.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax.streams import cut, photos
from qlrjax.streams.stream import ImageSource, Stream

TEST_SESSION = 0

# COIL-100 says that its label is the angle; here the object is.
_LABELS = ("label", "object_id")
_ORDER = ("frame", "angle")


@dataclasses.dataclass(frozen=True)
class _Split:
    """One split's images and what is known of each.

    Attributes:
        records: Examples by index, the image undecoded.
        labels: int64[n].
        sessions: int64[n], or None where the data has none.
        order: int64[n], order within a class.
        digest: SHA-256 in hex of the images' bytes.
    """

    records: Sequence[Any]
    labels: np.ndarray
    sessions: np.ndarray | None
    order: np.ndarray
    digest: str


def source(
    name: str, resolution: tuple[int, int], sessions: int = 4, data_dir: Path | None = None
) -> tuple[ImageSource, tuple[int, ...]]:
    """All images of a data set, and which sessions are its test set.

    The training images of a class are cut into sessions 1..`sessions` by their order in the data
    (by "frame" or "angle", where it has such a feature); images of a test split are in session 0.
    Without a test split, the last session is the test set. A feature "session" goes before that.

    Args:
        name: As tensorflow-datasets writes it, such as "coil100", "NAME/CONFIG" or "NAME:VERSION";
            "#FEATURE" behind it chooses the label, "label" or "object_id" by default.
        resolution: (height, width), pixels.
        sessions: Slices a class.
        data_dir: Where the data sets lie; by default where tensorflow-datasets keeps them.

    Raises:
        ValueError: The data set is not there, is not array_record, or has no image and label.
    """
    name, _, wanted = name.partition("#")
    builder = _find(name, data_dir)
    image, label = _features(builder.info, wanted)
    train_name, test_name = _split_names(builder.info)
    parts = [_read_split(builder, train_name, image, label)]
    parts += [_read_split(builder, test_name, image, label)] if test_name else []
    numbers = [_slices(parts[0], sessions, name, strict=not test_name)]
    if test_name:
        recorded = parts[1].sessions
        none = np.full(len(parts[1].labels), TEST_SESSION)
        numbers.append(none if recorded is None else recorded)
    held_out = numbers[-1] if test_name else numbers[0].max()
    starts = np.cumsum([0] + [len(part.labels) for part in parts])

    def read(indices: np.ndarray) -> np.ndarray:
        chosen = []
        for index in np.asarray(indices).tolist():
            part = int(np.searchsorted(starts, index, "right")) - 1
            data = parts[part].records[index - int(starts[part])][image]
            chosen.append(photos.decode(data, f"image {index} of {name}", resolution))
        return np.stack(chosen)

    images = ImageSource(
        name=builder.info.full_name,
        class_names=tuple(builder.info.features[label].names),
        labels=np.concatenate([part.labels for part in parts]).astype(np.int32),
        sessions=np.concatenate(numbers).astype(np.int32),
        frames=np.concatenate([part.order for part in parts]).astype(np.int32),
        in_hw=resolution,
        read=read,
        digest=hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest(),
    )
    return images, tuple(sorted({int(number) for number in np.atleast_1d(held_out)}))


def stream(
    name: str,
    resolution: tuple[int, int],
    sessions: int,
    test_sessions: tuple[int, ...],
    rule: cut.Rule,
    data_dir: Path | None = None,
) -> Stream:
    """A data set of tensorflow-datasets as a stream by the NICv2 rule.

    Raises:
        ValueError: Like `source`; or the order cannot be generated.
    """
    images, held_out = source(name, resolution, sessions, data_dir)
    held_out = test_sessions or held_out
    return cut.by_nicv2_rule(images, held_out, rule)


def _find(name: str, data_dir: Path | None) -> Any:
    # Imported here: it takes a second, and other data does not need it.
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        return read_only_builder.builder_from_files(
            name, data_dir=None if data_dir is None else str(data_dir)
        )
    except (registered.DatasetNotFoundError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"there is no prepared data set {name!r} in {data_dir or '~/tensorflow_datasets'}; "
            "qlrjax downloads nothing by itself, so prepare it once: "
            f"tfds.builder({name!r}, file_format='array_record').download_and_prepare() "
            "(for some data sets this needs tensorflow; reading does not)"
        ) from error


def _features(info: Any, wanted: str) -> tuple[str, str]:
    """The names of the image and of the label."""
    import tensorflow_datasets as tfds

    features = dict(getattr(info.features, "items", dict)())
    images = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8
    ]
    labels = [
        key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    if wanted and wanted not in labels:
        raise ValueError(f"{info.full_name} has no class label {wanted!r}; it has {labels}")
    if not images or not labels:
        raise ValueError(
            f"{info.full_name} has no uint8 image with a class label: {list(features)}"
        )
    asked = [key for key in (wanted, *_LABELS) if key in labels]
    return ("image" if "image" in images else images[0]), (asked or labels)[0]


def _split_names(info: Any) -> tuple[str, str | None]:
    names = list(info.splits)
    test = next((name for name in ("test", "validation") if name in names), None)
    if "train" not in names:
        raise ValueError(f"{info.full_name} has no split 'train'; it has {names}")
    return "train", test


def _read_split(builder: Any, split: str, image: str, label: str) -> _Split:
    import tensorflow_datasets as tfds

    try:
        records = builder.as_data_source(split=split, decoders={image: tfds.decode.SkipDecoding()})
    except (NotImplementedError, ValueError, OSError) as error:
        raise ValueError(
            f"{builder.info.full_name} in {builder.data_path} cannot be read by index; prepare it "
            f"with file_format='array_record' ({error})"
        ) from error
    order = next((key for key in _ORDER if key in builder.info.features), None)
    has_sessions = "session" in builder.info.features
    rows, hasher = [], hashlib.sha256()
    for place, record in enumerate(records):
        hasher.update(hashlib.sha256(record[image]).digest())
        rows.append(
            (
                int(record[label]),
                int(record["session"]) if has_sessions else 0,
                int(record[order]) if order else place,
            )
        )
    if not rows:
        raise ValueError(f"split {split!r} of {builder.info.full_name} is empty")
    columns = np.array(rows, np.int64)
    recorded = columns[:, 1] if has_sessions else None
    return _Split(records, columns[:, 0], recorded, columns[:, 2], hasher.hexdigest())


def _slices(part: _Split, sessions: int, name: str, strict: bool) -> np.ndarray:
    """int64[n]: the recorded session, or the slice of its class that an image is in, from 1."""
    if part.sessions is not None:
        return part.sessions
    numbers = np.empty(len(part.labels), np.int64)
    for label in np.unique(part.labels):
        rows = np.flatnonzero(part.labels == label)
        if strict and len(rows) < sessions:
            raise ValueError(
                f"class {label} of {name} has {len(rows)} images, which cannot be cut into "
                f"{sessions} sessions; set sessions lower"
            )
        rows = rows[np.argsort(part.order[rows], kind="stable")]
        numbers[rows] = 1 + np.arange(len(rows)) * sessions // len(rows)
    return numbers
