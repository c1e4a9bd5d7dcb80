"""Data sets of tensorflow-datasets: generated ones, prepared and read without TensorFlow."""
# ruff: noqa: RUF012 (features are class attributes, as tensorflow-datasets would have it)

import io
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from qlrjax.streams import core50, core50_tfds
from qlrjax.streams import tfds as tfds_stream
from qlrjax.streams.open import open_stream
from qlrjax.streams.settings import StreamSettings


def png(colour, size=(20, 12), mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    file.seek(0)
    return file


class Generated(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the data sets below have in common."""

    VERSION = tfds.core.Version("1.2.0")
    code_path = tfds.core.as_path(__file__)
    FEATURES = {}
    SPLITS = {}

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(self.FEATURES),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(rows) for name, rows in self.SPLITS.items()}

    def _generate_examples(self, rows):
        yield from enumerate(rows())


class TinyClothes(Generated):
    """Grey images, three classes, a test split."""

    FEATURES = {
        "image": tfds.features.Image(shape=(12, 20, 1)),
        "label": tfds.features.ClassLabel(names=["shirt", "shoe", "bag"]),
    }
    SPLITS = {
        "train": lambda: (
            {"image": png(10 * frame + label, mode="L"), "label": label}
            for frame in range(8)
            for label in range(3)
        ),
        "test": lambda: (
            {"image": png(200 + label, mode="L"), "label": label} for label in (2, 1, 0)
        ),
    }


class TinyTurntable(Generated):
    """As COIL-100 is: the label of the objects has another name, views come in no order."""

    FEATURES = {
        "image": tfds.features.Image(shape=(12, 20, 3)),
        "angle_label": tfds.features.ClassLabel(num_classes=5),
        "object_id": tfds.features.ClassLabel(names=["obj1", "obj2"]),
        "angle": np.int64,
    }
    SPLITS = {
        "train": lambda: (
            {
                "image": png((angle, item, 0)),
                "angle_label": angle,
                "object_id": item,
                "angle": angle,
            }
            for angle in (3, 0, 4, 1, 2)
            for item in range(2)
        )
    }


class TinyText(Generated):
    """No image."""

    FEATURES = {"label": tfds.features.ClassLabel(num_classes=2), "size": np.int64}
    SPLITS = {"train": lambda: iter([{"label": 0, "size": 3}])}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    place = tmp_path_factory.mktemp("tensorflow_datasets")
    for builder in (TinyClothes, TinyTurntable, TinyText):
        builder(data_dir=place, file_format="array_record").download_and_prepare()
    return place


def test_splits_are_respected_and_sessions_are_slices_of_a_class(data_dir):
    images, held_out = tfds_stream.source("tiny_clothes", (12, 20), 4, data_dir)
    assert held_out == (0,)
    assert images.class_names == ("shirt", "shoe", "bag")
    assert images.name == "tiny_clothes/1.2.0"
    train = images.sessions > 0
    assert train.tolist() == [True] * 24 + [False] * 3
    for label in range(3):
        chosen = np.flatnonzero(train & (images.labels == label))
        assert images.sessions[chosen].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
        pixels = images.read(chosen)
        assert pixels.shape == (8, 12, 20, 3)
        assert pixels.dtype == np.uint8
        expected = np.repeat(10 * np.arange(8) + label, 3).reshape(8, 3)
        np.testing.assert_array_equal(pixels[:, 3, 4], expected)
    assert images.labels[24:].tolist() == [2, 1, 0]
    assert images.read(np.array([26, 24]))[:, 0, 0, 0].tolist() == [200, 202]


def test_a_stream_by_name(data_dir):
    settings = StreamSettings(data="tfds:tiny_clothes:1.2.0", data_dir=str(data_dir), sessions=2)
    stream = open_stream(settings, 16, seed=1)
    assert len(stream.events) == 5  # two classes at first, four of six pairs behind
    assert sorted(np.concatenate(stream.events).tolist()) == list(range(24))
    assert sorted(stream.test.tolist()) == [24, 25, 26]
    assert stream.source.read(stream.test).shape == (3, 16, 16, 3)
    assert stream.digest() == open_stream(settings, 16, seed=1).digest()


def test_without_a_test_split_the_last_session_is_the_test_set(data_dir):
    images, held_out = tfds_stream.source("tiny_turntable", (12, 20), 5, data_dir)
    assert held_out == (5,)
    assert images.class_names == ("obj1", "obj2")
    colours = images.read(np.arange(10))[:, 0, 0]
    np.testing.assert_array_equal(colours[:, 1], images.labels)
    # Sessions follow the angle, not the order in which examples lie on disk.
    np.testing.assert_array_equal(colours[:, 0], images.frames)
    np.testing.assert_array_equal(images.sessions, images.frames + 1)
    by_angle, _ = tfds_stream.source("tiny_turntable#angle_label", (8, 8), 2, data_dir)
    np.testing.assert_array_equal(by_angle.labels, images.frames)


def test_what_cannot_be_used_is_said(data_dir, tmp_path):
    with pytest.raises(ValueError, match=r"no prepared data set 'coil100'.*downloads nothing"):
        tfds_stream.source("coil100", (8, 8), 4, data_dir)
    with pytest.raises(ValueError, match="no prepared data set"):
        tfds_stream.source("tiny_clothes:9.9.9", (8, 8), 4, data_dir)
    with pytest.raises(ValueError, match=r"no class label 'colour'; it has \['label'\]"):
        tfds_stream.source("tiny_clothes#colour", (8, 8), 4, data_dir)
    with pytest.raises(ValueError, match="no uint8 image with a class label"):
        tfds_stream.source("tiny_text", (8, 8), 4, data_dir)
    with pytest.raises(ValueError, match="5 images, which cannot be cut into 6 sessions"):
        tfds_stream.source("tiny_turntable", (8, 8), 6, data_dir)


def test_data_in_another_file_format_is_named(data_dir, tmp_path):
    import shutil

    shutil.copytree(data_dir / "tiny_clothes", tmp_path / "tiny_clothes")
    info = tmp_path / "tiny_clothes" / "1.2.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="prepare it with file_format='array_record'"):
        tfds_stream.source("tiny_clothes", (8, 8), 4, tmp_path)


def write_core50(root):
    for session in (1, 2, 3):
        for item in (1, 2, 10):
            (root / f"s{session}/o{item}").mkdir(parents=True)
            for frame in (0, 1, 5):
                noise = np.random.default_rng([session, item, frame])
                pixels = noise.integers(0, 256, (128, 128, 3), np.uint8)
                name = f"C_{session:02}_{item:02}_{frame:03}.png"
                Image.fromarray(pixels).save(root / f"s{session}/o{item}" / name)


def test_core50_as_a_data_set_keeps_frames_in_order_and_to_the_pixel(tmp_path):
    root = tmp_path / "core50_128x128"
    write_core50(root)
    builder = core50_tfds.prepare(root, tmp_path / "t")
    examples = list(builder.as_data_source("train"))
    keys = [(int(e["session"]), int(e["label"]) + 1, int(e["frame"])) for e in examples]
    assert keys == [(s, o, f) for s in (1, 2) for o in (1, 2, 10) for f in (0, 1, 5)]
    assert len(builder.as_data_source("test")) == 9
    assert builder.info.features["label"].num_classes == 50
    direct = core50.source(root, (128, 128), tmp_path / "cache")
    np.testing.assert_array_equal([e["image"] for e in examples], direct.read(np.arange(18)))
    assert "tensorflow" not in sys.modules


def test_core50_from_a_zip_as_a_stream_by_name(tmp_path):
    root = tmp_path / "core50_128x128"
    write_core50(root)
    packed = tmp_path / "core50.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(root.rglob("*.png"), reverse=True):
            file.write(path, path.relative_to(tmp_path))
    core50_tfds.prepare(packed, tmp_path / "t")
    settings = StreamSettings(data="tfds:core50", data_dir=str(tmp_path / "t"), first_classes=3)
    stream = open_stream(settings, 128, seed=0)
    assert np.unique(stream.source.sessions[stream.test]).tolist() == [3]
    assert len(stream.events) == 4
    direct = core50.source(root, (128, 128), tmp_path / "cache")
    np.testing.assert_array_equal(stream.source.read(np.arange(27)), direct.read(np.arange(27)))


def test_a_damaged_frame_is_named_before_the_data_set_exists(tmp_path):
    root = tmp_path / "core50_128x128"
    write_core50(root)
    (root / "s2/o10/C_02_10_001.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with pytest.raises(ValueError, match=r"C_02_10_001\.png is damaged"):
        core50_tfds.prepare(root, tmp_path / "t")
    with pytest.raises(ValueError, match="no prepared data set"):
        tfds_stream.source("core50", (8, 8), 4, tmp_path / "t")
