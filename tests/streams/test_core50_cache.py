"""The array of prepared frames: made once, whole or made again, every frame compared when read."""

import json
import sys
import threading

import numpy as np
import pytest

from qlrjax.streams import core50_cache


def frames_of(count, side=4):
    return lambda: (np.full((side, side, 3), index % 256, np.uint8) for index in range(count))


@pytest.mark.parametrize(
    "damage",
    [
        lambda stem: stem.with_suffix(".json").unlink(),
        lambda stem: stem.with_suffix(".json").write_text("{"),
        lambda stem: stem.with_suffix(".json").write_text("[]"),
        lambda stem: stem.with_suffix(".json").write_text(json.dumps({"shape": [9, 4, 4, 3]})),
        lambda stem: stem.with_suffix(".npy").unlink(),
        lambda stem: stem.with_suffix(".npy").write_bytes(b""),
        lambda stem: stem.with_suffix(".npy").write_bytes(
            stem.with_suffix(".npy").read_bytes()[:-1]
        ),
        lambda stem: np.save(stem.with_suffix(".npy"), np.zeros((9, 4, 4, 3), np.int8)),
        lambda stem: np.save(stem.with_suffix(".npy"), np.zeros((8, 4, 4, 3), np.uint8)),
        lambda stem: stem.with_suffix(".sums").unlink(),
        lambda stem: stem.with_suffix(".sums").write_bytes(bytes(9 * 16)),
        lambda stem: stem.with_suffix(".sums").write_bytes(b""),
    ],
)
def test_an_array_that_is_not_whole_is_made_again(tmp_path, damage):
    stem, shape = tmp_path / "a", (9, 4, 4, 3)
    first = core50_cache.open_or_make(stem, shape, frames_of(9))
    kept = core50_cache.open_or_make(stem, shape, lambda: pytest.fail("it was whole"))
    assert kept.digest == first.digest
    damage(stem)
    again = core50_cache.open_or_make(stem, shape, frames_of(9))
    assert again.digest == first.digest
    assert again.read(np.array([8, 0, 3]))[:, 0, 0, 0].tolist() == [8, 0, 3]


@pytest.mark.parametrize("damage", ["one bit", "zeroed"])
def test_a_frame_that_has_changed_is_named_and_no_other_is_lost(tmp_path, damage):
    stem, shape = tmp_path / "a", (9, 4, 4, 3)
    core50_cache.open_or_make(stem, shape, frames_of(9))
    data = bytearray(stem.with_suffix(".npy").read_bytes())
    start = len(data) - 9 * 48 + 4 * 48  # of frame 4
    if damage == "one bit":
        data[start + 17] ^= 4
    else:
        data[start : start + 48] = bytes(48)
    stem.with_suffix(".npy").write_bytes(data)
    cached = core50_cache.open_or_make(stem, shape, lambda: pytest.fail("it is whole by its size"))
    assert cached.read(np.array([3, 5]))[:, 0, 0, 0].tolist() == [3, 5]
    with pytest.raises(ValueError, match=r"frame 4 of the prepared array .*a\.npy is damaged"):
        cached.read(np.array([3, 4]))
    stem.with_suffix(".json").unlink()  # as the sentence says
    again = core50_cache.open_or_make(stem, shape, frames_of(9))
    assert again.read(np.array([4]))[0, 0, 0, 0] == 4


def test_an_array_from_before_there_were_digests_is_looked_through_once(tmp_path):
    stem, shape = tmp_path / "a", (9, 4, 4, 3)
    first = core50_cache.open_or_make(stem, shape, frames_of(9))
    old = {"format": 2, "shape": list(shape), "pixels_sha256": first.digest}
    stem.with_suffix(".sums").unlink()
    stem.with_suffix(".json").write_text(json.dumps(old))
    again = core50_cache.open_or_make(stem, shape, lambda: pytest.fail("it was whole"))
    np.testing.assert_array_equal(again.sums, first.sums)
    assert json.loads(stem.with_suffix(".json").read_text())["format"] == 3
    # One that has changed since is made again.
    stem.with_suffix(".json").write_text(json.dumps(old))
    data = bytearray(stem.with_suffix(".npy").read_bytes())
    data[-1] ^= 1
    stem.with_suffix(".npy").write_bytes(data)
    made = core50_cache.open_or_make(stem, shape, frames_of(9))
    assert made.read(np.array([8]))[0, 0, 0, 0] == 8


def test_stopping_while_it_is_made_leaves_nothing(tmp_path):
    stem, shape = tmp_path / "a", (200, 4, 4, 3)

    def stop(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        core50_cache.open_or_make(stem, shape, frames_of(200), stop)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}
    with pytest.raises(ValueError, match="199 frames came where 200"):
        core50_cache.open_or_make(stem, shape, frames_of(199))
    whole = core50_cache.open_or_make(stem, shape, frames_of(200))
    assert whole.read(np.array([199]))[0, 0, 0, 0] == 199


def test_two_at_a_time_make_it_once(tmp_path):
    made, results = [], []

    def frames():
        made.append(1)
        return frames_of(300)()

    def work():
        results.append(core50_cache.open_or_make(tmp_path / "a", (300, 4, 4, 3), frames))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({result.digest for result in results}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_read_does_not_stay_in_memory(tmp_path):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[2]) * 4096

    cached = core50_cache.open_or_make(tmp_path / "a", (400, 128, 128, 3), frames_of(400, 128))
    before = resident()
    for start in range(0, 400, 40):
        cached.read(np.arange(start, start + 40))
    assert resident() - before < 4_000_000  # of 20 MB
