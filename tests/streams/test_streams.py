"""Where images and events come from: built-in, folder, CORe50, generated."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qlrjax.streams import archive, builtin, core50, cut, folder, nicv2, photos, synthetic
from qlrjax.streams.open import open_stream
from qlrjax.streams.settings import StreamSettings
from qlrjax.streams.stream import Stream


def test_builtin_stream_follows_the_nicv2_rule():
    stream = builtin.stream((32, 48), sessions=4, rule=cut.Rule(2, 1, 0))
    labels, sessions = stream.source.labels, stream.source.sessions
    assert len(stream.events) == 39
    assert len(np.unique(labels[stream.events[0]])) == 2
    for event in stream.events[1:]:
        assert len(np.unique(labels[event])) == len(np.unique(sessions[event])) == 1
    learned = np.concatenate(stream.events)
    assert len(learned) == len(np.unique(learned)) == 4000
    assert np.bincount(labels[stream.test]).tolist() == [100] * 10
    assert not np.intersect1d(learned, stream.test).size
    images = stream.source.read(stream.test[:3])
    assert images.shape == (3, 32, 48, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_builtin_stream_can_be_small_and_keeps_all_sessions():
    stream = builtin.stream((16, 16), 4, cut.Rule(2, 1, 0), train_per_class=8, test_per_class=3)
    assert sum(len(event) for event in stream.events) == 80
    assert len(stream.test) == 30
    assert np.unique(stream.source.sessions[np.concatenate(stream.events)]).tolist() == [1, 2, 3, 4]


@given(
    classes=st.integers(1, 12),
    sessions=st.integers(1, 5),
    first=st.integers(1, 12),
    per_event=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_generated_orders_have_every_pair_once(classes, sessions, first, per_event, seed):
    first = min(first, classes)
    pairs = [(s, c) for s in range(sessions) for c in range(classes)]
    order = nicv2.generate_order(pairs, first, per_event, seed)
    assert sorted(pair for event in order for pair in event) == sorted(pairs)
    assert len({label for _, label in order[0]}) == len(order[0]) == first
    assert all(len(event) <= per_event for event in order[1:])
    assert order == nicv2.generate_order(reversed(pairs), first, per_event, seed)


def test_new_classes_come_bit_by_bit():
    pairs = [(s, c) for s in range(8) for c in range(50)]
    order = nicv2.generate_order(pairs, 10, 1, seed=3)
    opening = {}
    for event, chosen in enumerate(order):
        for _, label in chosen:
            opening.setdefault(label, event)
    later = sorted(event for event in opening.values() if event)
    assert len(later) == 40
    assert later[0] <= 23
    assert 0.7 * len(order) < later[-1] < 0.95 * len(order)


@pytest.mark.parametrize("scenario", nicv2.SCENARIOS)
@pytest.mark.parametrize("run", [0, 9])
def test_official_orders_have_the_published_counts(scenario, run):
    order = nicv2.official_order(scenario, run)
    pairs = [pair for event in order for pair in event]
    assert len(order) == scenario
    assert len(pairs) == len(set(pairs)) == 400
    assert sum(nicv2.official_frames(*pair) for pair in pairs) == 119_894
    assert sum(nicv2.official_frames(*pair) for pair in order[0]) == 2_999
    assert {item - 1 for _, item in order[0]} == set(range(0, 50, 5))
    assert {session for session, _ in order[0]} == {1}
    assert not {session for session, _ in pairs} & set(core50.TEST_SESSIONS)


def test_event_sizes_of_nicv2_391():
    order = nicv2.official_order(391, 0)
    sizes = [sum(nicv2.official_frames(*pair) for pair in event) for event in order[1:]]
    counts = {size: sizes.count(size) for size in set(sizes)}
    assert counts == {300: 334, 299: 29, 298: 14, 297: 8, 296: 3, 295: 1, 293: 1}


def test_official_orders_equal_the_published_lists(shared):
    rows = (shared / "data" / "nicv2_orders.csv").read_text().splitlines()[1:]
    for scenario in nicv2.SCENARIOS:
        for run in range(10):
            events = [[] for _ in range(scenario)]
            for row in rows:
                values = [int(value) for value in row.split(",")]
                if values[:2] == [scenario, run]:
                    events[values[2]].append((values[3], values[4]))
            assert nicv2.official_order(scenario, run) == tuple(map(tuple, events))


def test_unknown_orders_are_refused():
    with pytest.raises(ValueError, match="scenarios are"):
        nicv2.official_order(100, 0)
    with pytest.raises(ValueError, match="the data has 2"):
        nicv2.generate_order([(1, 0), (1, 1)], 3, 1, 0)


def write_core50(root, sessions=(1, 2, 3), objects=(1, 2), frames=3, suffix="png"):
    for session in sessions:
        for item in objects:
            (root / f"s{session}/o{item}").mkdir(parents=True)
            for frame in range(frames):
                pixels = np.full((128, 128, 3), (10 * session, 20 * item, frame), np.uint8)
                name = f"s{session}/o{item}/C_{session:02}_{item:02}_{frame:03}.{suffix}"
                Image.fromarray(pixels).save(root / name)


def test_core50_from_folder_and_zip_are_the_same(tmp_path):
    root = tmp_path / "core50_128x128"
    write_core50(root)
    packed = tmp_path / "core50_128x128.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(root.rglob("*.png")):
            file.write(path, "core50_128x128/" + path.relative_to(root).as_posix())
    from_folder = core50.source(root, (128, 128), tmp_path / "a")
    from_zip = core50.source(packed, (128, 128), tmp_path / "b")
    every = np.arange(18)
    np.testing.assert_array_equal(from_folder.read(every), from_zip.read(every))
    assert from_folder.digest == from_zip.digest
    np.testing.assert_array_equal(from_folder.read(every)[:, 5, 5, 0], 10 * from_folder.sessions)
    np.testing.assert_array_equal(
        from_folder.read(every)[:, 5, 5, 1], 20 * (from_folder.labels + 1)
    )
    np.testing.assert_array_equal(from_folder.read(every)[:, 5, 5, 2], from_folder.frames)
    stream = core50.stream(from_folder, None, 0, reduced_test=False, rule=cut.Rule(1))
    assert set(from_folder.sessions[stream.test].tolist()) == {3}


def test_core50_array_is_made_once_and_never_half_used(tmp_path):
    root = tmp_path / "c"
    write_core50(root)
    seen = []
    core50.source(root, (16, 16), tmp_path / "x", lambda *progress: seen.append(progress))
    assert seen[-1] == ("preparing frames", 18, 18)
    core50.source(root, (16, 16), tmp_path / "x", lambda *_: pytest.fail("was made again"))
    marker = next((tmp_path / "x").glob("*.json"))
    marker.unlink()  # as if the process had died before the end
    again = []
    core50.source(root, (16, 16), tmp_path / "x", lambda *progress: again.append(progress))
    assert again
    assert json.loads(marker.read_text())["shape"] == [18, 16, 16, 3]


def test_damaged_frames_and_wrong_folders_are_named(tmp_path):
    root = tmp_path / "c"
    write_core50(root)
    (root / "s2/o1/C_02_01_001.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(ValueError, match=r"C_02_01_001\.png is damaged"):
        core50.source(root, (128, 128), tmp_path / "x")
    assert not list((tmp_path / "x").glob("*.npy*"))
    with pytest.raises(ValueError, match="there is no CORe50"):
        core50.source(tmp_path / "none", (128, 128))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no frames"):
        core50.source(tmp_path / "empty", (128, 128))


def test_frames_missing_for_the_official_order_are_named(tmp_path):
    root = tmp_path / "c"
    write_core50(root, objects=range(1, 51), sessions=(1, 3), frames=1)
    images = core50.source(root, (8, 8), tmp_path / "x")
    with pytest.raises(ValueError, match="session 2"):
        core50.stream(images, 391, 0, reduced_test=True)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a\\..\\b.png"])
def test_zips_that_climb_out_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        info = zipfile.ZipInfo("x")
        info.filename = name
        file.writestr(info, b"x")
    with (
        zipfile.ZipFile(tmp_path / "z.zip") as file,
        pytest.raises(archive.UntrustedData, match="outside"),
    ):
        archive.check_zip(file, "z.zip", (tmp_path / "z.zip").stat().st_size)


def test_zip_bombs_and_links_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(10_000_000))
    with zipfile.ZipFile(tmp_path / "z.zip") as file, pytest.raises(ValueError, match="unpack to"):
        archive.check_zip(file, "z.zip", (tmp_path / "z.zip").stat().st_size)
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as file:
        file.writestr(link, b"/etc/passwd")
    with zipfile.ZipFile(tmp_path / "l.zip") as file, pytest.raises(ValueError, match="is a link"):
        archive.check_zip(file, "l.zip", (tmp_path / "l.zip").stat().st_size)
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as file:
        for number in range(9):
            file.writestr(f"{number}.png", bytes(1000))
    with zipfile.ZipFile(tmp_path / "o.zip") as file, pytest.raises(ValueError, match="one place"):
        archive.check_zip(file, "o.zip", 8999)  # as if members lay over each other


def test_official_lists_are_read_and_code_in_pickles_is_refused(tmp_path):
    import os
    import pickle

    (tmp_path / "paths.pkl").write_bytes(
        pickle.dumps([f"s1/o1/C_01_01_{i:03}.png" for i in range(5)])
    )
    lookup = {"nicv2_391": [[[0, 1], [2, 3], [4]]]}
    (tmp_path / "LUP.pkl").write_bytes(pickle.dumps(lookup))
    events, test = core50.lup_events(tmp_path, "nicv2_391", 0)
    assert [len(event) for event in events] == [2, 2]
    assert test == ["s1/o1/C_01_01_004.png"]

    class Evil:
        def __reduce__(self):
            return os.system, ("touch pwned",)

    (tmp_path / "paths.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(archive.UntrustedData, match="system"):
        core50.lup_events(tmp_path, "nicv2_391", 0)


def test_folder_of_sessions_and_folder_of_objects(tmp_path):
    for session in ("morning", "noon", "night"):
        for item in ("mug", "key"):
            (tmp_path / "a" / session / item).mkdir(parents=True)
            for shot in (2, 10):
                image = Image.new("RGB", (30 + shot, 20), (shot, 0, 0))
                image.save(tmp_path / "a" / session / item / f"{shot}.png")
    images = folder.source(tmp_path / "a", (16, 24))
    assert images.class_names == ("key", "mug")
    assert images.read(np.arange(2)).shape == (2, 16, 24, 3)
    assert images.read(np.arange(2))[:, 8, 12, 0].tolist() == [2, 10]  # natural order
    stream = folder.stream(tmp_path / "a", (16, 16), 4, (), cut.Rule(2, 1, 0))
    assert np.unique(stream.source.sessions[stream.test]).tolist() == [3]
    flat = folder.source(tmp_path / "a" / "noon", (16, 16), sessions=2)
    assert flat.sessions.tolist() == [1, 2, 1, 2]


def test_bad_folders_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        folder.source(tmp_path / "none", (16, 16))
    with pytest.raises(ValueError, match="holds no images"):
        folder.source(tmp_path, (16, 16))
    (tmp_path / "s1/o1").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "s1/o1/a.png")
    with pytest.raises(ValueError, match="leave at least one to learn from"):
        folder.stream(tmp_path, (16, 16), 4, (), cut.Rule(1, 1, 0))


def test_photos_are_turned_upright_and_damage_is_named(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: upright is rotated clockwise
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    upright = photos.read_photo(tmp_path / "p.png", (40, 20))
    assert upright[2].min() == 255
    assert upright[-3].max() == 0
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff cut")
    with pytest.raises(ValueError, match=r"cut\.jpg is damaged"):
        photos.read_photo(tmp_path / "cut.jpg", (8, 8))
    with pytest.raises(ValueError, match="there is no photo"):
        photos.read_photo(tmp_path / "none.jpg", (8, 8))


def test_scenes50_is_the_same_as_folder_and_as_core50(shared, tmp_path):
    root = shared / "data" / "scenes50"
    as_folder = folder.source(root, (128, 128))
    as_core50 = core50.source(root, (128, 128), tmp_path)
    assert len(as_folder.labels) == 6000
    np.testing.assert_array_equal(as_folder.labels, as_core50.labels)
    np.testing.assert_array_equal(as_folder.sessions, as_core50.sessions)
    some = np.arange(0, 6000, 97)
    np.testing.assert_array_equal(as_folder.read(some), as_core50.read(some))


def test_synthetic_images_are_a_function_of_their_index():
    images = synthetic.source(3, 2, 4, (12, 20))
    np.testing.assert_array_equal(
        images.read(np.array([5, 1]))[::-1], images.read(np.array([1, 5]))
    )
    with pytest.raises(ValueError, match="CLASSESxSESSIONSxFRAMES"):
        synthetic.stream("3x1x2", (8, 8), cut.Rule(1, 1, 0))


def test_opening_by_name(tmp_path):
    stream = open_stream(StreamSettings(data="synthetic:4x3x2"), 16, 0)
    assert len(stream.events) == 7
    joint = open_stream(StreamSettings(data="synthetic:4x3x2", joint=True), 16, 0)
    assert len(joint.events) == 1
    assert sorted(joint.events[0].tolist()) == sorted(np.concatenate(stream.events).tolist())
    assert joint.digest() != stream.digest()
    with pytest.raises(ValueError, match="there is no data 'nowhere'"):
        open_stream(StreamSettings(data="nowhere"), 16, 0)


def test_a_stream_never_trains_on_its_test_images():
    images = synthetic.source(2, 2, 2, (8, 8))
    with pytest.raises(ValueError, match="train on test images"):
        Stream(images, (np.array([0, 1]),), np.array([1, 2]))
    with pytest.raises(ValueError, match="without images"):
        Stream(images, (np.array([], int),), np.array([1]))
    with pytest.raises(ValueError, match="has no images of class"):
        cut.by_sessions(images, [2], [[(7, 0)]])
