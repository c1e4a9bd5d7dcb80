"""CORe50 as a tensorflow-datasets builder, written as array_record and without TensorFlow.

tensorflow-datasets has no CORe50 of its own. Importing this module registers the name "core50".
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from qlrjax.streams import core50, photos

_OBJECTS = 50


class Core50(tfds.core.GeneratorBasedBuilder):
    """Frames of 50 objects in 11 sessions, in order of session, object and time.

    The data is not downloaded.

    Args:
        root: The extracted folder, or the zip; by default the folder `manual_dir` that
            tensorflow-datasets looks into.
        arguments: Of every builder, such as data_dir.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "core50_128x128, sessions 3, 7 and 10 as test split"
    }
    # tensorflow-datasets 4.9.10 finds this path with a package that it does not require.
    code_path = tfds.core.as_path(__file__)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir holds core50_128x128, sS/oO/C_SS_OO_FFF.png"

    def __init__(self, *, root: Path | None = None, **arguments: Any) -> None:
        self._root = root
        super().__init__(**arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        number = tfds.features.Scalar(np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description="CORe50, a data set for continual object recognition from video.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(
                        names=[f"o{item}" for item in range(1, _OBJECTS + 1)]
                    ),
                    "session": number,
                    "frame": number,
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://vlomonaco.github.io/core50/",
            # Neighbouring frames stay neighbours.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        root = self._root or Path(dl_manager.manual_dir)
        splits: dict[str, list[core50.Frame]] = {"train": [], "test": []}
        for frame in core50.find_frames(root):
            held_out = frame.session in core50.TEST_SESSIONS
            splits["test" if held_out else "train"].append(frame)
        return {
            name: self._generate_examples(root, frames) for name, frames in splits.items() if frames
        }

    def _generate_examples(self, root: Path, frames: list) -> Iterator[tuple[int, dict[str, Any]]]:
        files = core50.read_files(root, frames)
        for place, (frame, (name, data)) in enumerate(zip(frames, files, strict=True)):
            photos.decode(data, name, (8, 8))  # a damaged frame is named here, not when it is used
            yield (
                place,
                {
                    "image": io.BytesIO(data),
                    "label": frame.item - 1,
                    "session": frame.session,
                    "frame": frame.number,
                },
            )


def prepare(root: Path, data_dir: Path) -> tfds.core.DatasetBuilder:
    """Writes CORe50 as a tensorflow-datasets data set, once.

    Args:
        root: The extracted folder, or the zip.
        data_dir: Where data sets lie, such as ~/tensorflow_datasets. Takes about as much room as
            the image files.

    Returns:
        The builder; `as_data_source("train")` gives examples by index, without TensorFlow.

    Raises:
        ValueError: There are no frames in `root`, or one is damaged (named).
    """
    builder = Core50(root=root, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return builder
