"""People's own folders: both layouts, what is left out, and what is refused."""

import logging
import re

import numpy as np
import pytest
from PIL import Image

from qlrjax.streams import folder
from qlrjax.streams.open import open_stream
from qlrjax.streams.settings import StreamSettings


def photo(path, colour=(9, 9, 9), size=(11, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def sessions_of(root, sessions, objects=("key", "mug"), shots=2):
    for place, session in enumerate(sessions):
        for number, item in enumerate(objects):
            for shot in range(shots):
                photo(root / session / item / f"{shot}.png", (place, number, shot))
    return root


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["s1", "s2", "s10"], [1, 2, 10]),
        (["3", "7", "8"], [3, 7, 8]),
        (["kitchen", "s2", "yard"], [1, 2, 3]),  # not all have numbers
        (["1", "s1", "S2"], [1, 2, 3]),  # one number twice
    ],
)
def test_sessions_are_numbered_by_name_or_in_order(tmp_path, names, numbers):
    images = folder.source(sessions_of(tmp_path, names), (8, 8))
    found = np.unique(images.sessions).tolist()
    assert found == numbers
    # Natural order of names: digits, then letters; upper case first.
    ordered = sorted(names, key=lambda name: (name[0].isalpha(), name[0], len(name), name))
    for number, name in zip(numbers, ordered, strict=True):
        first = images.read(np.flatnonzero(images.sessions == number)[:1])[0, 0, 0]
        assert first[0] == names.index(name)


def test_labels_are_by_name_whatever_a_session_lacks(tmp_path):
    sessions_of(tmp_path, ["s1", "s2"], ["o2", "o10"])
    photo(tmp_path / "s3" / "o1" / "0.png")
    photo(tmp_path / "s3" / "o10" / "0.png")
    images = folder.source(tmp_path, (8, 8))
    assert images.class_names == ("o1", "o2", "o10")
    assert images.labels.tolist() == [1, 1, 2, 2, 1, 1, 2, 2, 0, 2]
    assert images.sessions.tolist() == [1] * 4 + [2] * 4 + [3] * 2


def test_what_is_no_image_is_left_out_and_counted(tmp_path, caplog):
    sessions_of(tmp_path, ["s1", "s2"])
    (tmp_path / "s1" / "key" / "notes.txt").write_text("x")
    (tmp_path / "s1" / "thumbs.db").write_text("x")
    photo(tmp_path / "top.png")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "s1" / "key" / "._0.png").write_text("macOS leaves these")
    (tmp_path / "empty" / "empty").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        images = folder.source(tmp_path, (8, 8))
    assert len(images.labels) == 8
    assert "3 files that are no images, or lie elsewhere, are left out" in caplog.text


def test_mixed_layouts_are_refused(tmp_path):
    sessions_of(tmp_path, ["s1", "s2"])
    photo(tmp_path / "cup" / "0.png")
    with pytest.raises(ValueError, match=r"mixes .* \(s1\) with .* \(cup\)"):
        folder.source(tmp_path, (8, 8))


def test_objects_without_sessions_are_cut_by_frame_order(tmp_path):
    for item, count in (("mug", 9), ("key", 4)):
        for shot in range(count):
            photo(tmp_path / item / f"shot {shot + 1}.webp", (shot, 0, 0))
    images = folder.source(tmp_path, (8, 8), sessions=4)
    assert images.class_names == ("key", "mug")
    assert images.sessions.tolist() == [1, 2, 3, 4, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    stream = open_stream(StreamSettings(data=str(tmp_path)), 8, 0)
    assert images.sessions[stream.test].tolist() == [4, 4, 4]
    assert len(stream.events) == 5
    with pytest.raises(ValueError, match=r"key holds 4 images, which cannot be cut into 5"):
        folder.source(tmp_path, (8, 8), sessions=5)


def test_damaged_images_are_left_out_by_name(tmp_path, caplog):
    sessions_of(tmp_path, ["s1", "s2"])
    bad = tmp_path / "s2" / "mug" / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        images = folder.source(tmp_path, (8, 8))
    assert "1 of 8 photos are left out" in caplog.text
    assert re.search(r"mug/1\.png is damaged", caplog.text)
    assert images.read(np.arange(7)).shape == (7, 8, 8, 3)
    assert len(images.labels) == 7
    with pytest.raises(ValueError, match=r"mug/1\.png is damaged"):
        folder.source(tmp_path, (8, 8), strict=True)
    # One that goes bad after it was looked at is named when it is read.
    good = tmp_path / "s1" / "mug" / "1.png"
    good.write_bytes(good.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"mug/1\.png is damaged"):
        images.read(np.arange(7))


def test_the_digest_follows_the_content(tmp_path):
    sessions_of(tmp_path, ["s1", "s2"])
    one, two = tmp_path / "s1" / "key" / "0.bmp", tmp_path / "s1" / "key" / "1.bmp"
    photo(one, (1, 2, 3))
    photo(two, (4, 5, 6))
    first = folder.source(tmp_path, (8, 8)).digest
    assert folder.source(tmp_path, (8, 8)).digest == first
    (tmp_path / "readme.txt").write_text("x")
    assert folder.source(tmp_path, (8, 8)).digest == first
    content = one.read_bytes(), two.read_bytes()
    assert len(content[0]) == len(content[1])
    two.write_bytes(content[0])
    one.write_bytes(content[1])
    assert folder.source(tmp_path, (8, 8)).digest != first


def test_test_sessions_must_be_there_and_leave_something(tmp_path):
    sessions_of(tmp_path, ["s1", "s2", "s5"])
    data = str(tmp_path)
    stream = open_stream(StreamSettings(data=data, test_sessions=(2, 5)), 8, 0)
    assert np.unique(stream.source.sessions[stream.test]).tolist() == [2, 5]
    with pytest.raises(ValueError, match=r"sessions \[1, 2, 5\]; the test sessions \[3\]"):
        open_stream(StreamSettings(data=data, test_sessions=(3,)), 8, 0)
    with pytest.raises(ValueError, match="leave at least one"):
        open_stream(StreamSettings(data=data, test_sessions=(1, 2, 5)), 8, 0)
    with pytest.raises(ValueError, match="the data has 2"):
        open_stream(StreamSettings(data=data, first_classes=3), 8, 0)


def test_every_kth_test_image_of_any_data(tmp_path):
    sessions_of(tmp_path, ["s1", "s2"], shots=25)
    full = open_stream(StreamSettings(data=f"folder:{tmp_path}"), 8, 0)
    reduced = open_stream(StreamSettings(data=f"folder:{tmp_path}", reduced_test=True), 8, 0)
    assert len(full.test) == 50
    np.testing.assert_array_equal(reduced.test, full.test[::20])


def test_scenes50_is_a_folder_of_sessions(shared):
    settings = StreamSettings(
        data=str(shared / "data" / "scenes50"),
        test_sessions=(3, 7),
        first_classes=10,
        pairs_per_event=5,
    )
    stream = open_stream(settings, 32, seed=0)
    assert stream.source.class_names == tuple(f"o{item}" for item in range(1, 51))
    assert len(stream.test) == 1_500
    assert len(stream.events) == 59
    assert len(stream.events[0]) == 150
    assert np.unique(stream.source.labels[stream.events[0]]).tolist() == list(range(0, 50, 5))
    assert np.unique(stream.source.sessions[stream.events[0]]).tolist() == [1]
    assert sum(map(len, stream.events)) == 4_500
    assert stream.source.read(stream.test[:2]).shape == (2, 32, 32, 3)
