"""The store of latents: the same bits as computing them, whoever wrote what and whatever broke."""

import dataclasses
import os

import numpy as np
import pytest

from qlrjax import latents, session
from qlrjax.integer.extractor import Extractor
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings

BASE = Settings(
    latent_layer=5,
    replays=8,
    weights="random:1:0.25",
    resolution=32,
    calibration_images=12,
    stream=StreamSettings(data="synthetic:3x4x6", first_classes=2),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QLRJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latents, "_LEAST_MACS", 0.0)
    return tmp_path / "cache"


def computed(work, indices):
    """The latents of images, by the extractor alone."""
    return work.extractor(work.stream.source.read(indices))


@pytest.fixture
def extracted(monkeypatch):
    """How many images passed the frozen stage, call by call."""
    calls, plain = [], Extractor.__call__

    def counting(self, images, *rest):
        calls.append(len(images))
        return plain(self, images, *rest)

    monkeypatch.setattr(Extractor, "__call__", counting)
    return calls


@pytest.mark.parametrize("frozen", ["int8", "float32"])
def test_latents_are_computed_once_and_have_the_same_bits(frozen, extracted):
    work = session.prepare(dataclasses.replace(BASE, frozen=frozen))
    assert isinstance(work.cache, latents.OnDisk)
    indices = np.concatenate([work.stream.test[::-2], work.stream.events[0]])
    extracted.clear()
    first = latents.read(work.extractor, work.stream, indices, work.cache)
    assert extracted == [len(work.stream.events[0])]  # those of the test set were there
    kept = latents.place(work.extractor, work.stream)
    again = latents.read(work.extractor, work.stream, indices, kept)
    assert len(extracted) == 1
    assert first.dtype == (np.uint8 if frozen == "int8" else np.float32)
    np.testing.assert_array_equal(first, again)
    if frozen == "int8":  # floats may depend on which images pass together
        np.testing.assert_array_equal(first, computed(work, indices))


def test_another_stage_or_other_images_have_a_file_of_their_own():
    names = set()
    changes = (
        {},
        {"latent_layer": 7},
        {"weights": "random:2:0.25"},
        {"frozen": "float32"},
        {"resolution": 64},
        {"stream": StreamSettings(data="synthetic:4x4x6")},
    )
    for change in changes:
        work = session.prepare(dataclasses.replace(BASE, **change))
        names.add(work.cache.path)
    assert len(names) == len(changes)
    # What is only learned differently shares.
    work = session.prepare(dataclasses.replace(BASE, bits=4, replays=2))
    assert work.cache.path in names


@pytest.mark.parametrize("damage", ["flip", "digest", "cut", "zeros", "other image", "other key"])
def test_a_damaged_row_counts_as_missing(damage, extracted):
    work = session.prepare(BASE)
    path, test = work.cache.path, work.stream.test
    size = 32 + work.test_latents[0].nbytes
    victim, data = int(test[3]), bytearray(path.read_bytes())
    place = victim * size
    if damage == "flip":
        data[place + 40] ^= 1
    elif damage == "digest":
        data[place] ^= 1
    elif damage == "cut":
        victim = int(test.max())
        del data[victim * size + size // 2 :]
    elif damage == "zeros":
        data[place : place + size] = bytes(size)
    elif damage == "other image":
        other = int(test[4]) * size
        data[place : place + size] = data[other : other + size]
    path.write_bytes(data)
    kept = work.cache
    if damage == "other key":
        kept = dataclasses.replace(kept, key=b"x" * 32)
    out = np.zeros_like(work.test_latents)
    found = kept.find(test, out)
    assert not found[test == victim].any()
    assert found.any() == (damage != "other key")
    extracted.clear()
    again = latents.read(work.extractor, work.stream, test, kept)
    np.testing.assert_array_equal(again, work.test_latents)
    assert extracted == [(~found).sum()]
    assert kept.find(test, out).all()


def test_what_was_used_longest_ago_makes_room(own_cache, monkeypatch):
    works = [session.prepare(dataclasses.replace(BASE, latent_layer=layer)) for layer in (3, 5)]
    old, new = (work.cache.path for work in works)
    os.utime(old, (1, 1))
    used = sum(path.stat().st_blocks * 512 for path in (old, new))
    monkeypatch.setenv("QLRJAX_LATENTS_GB", str((used + 10_000) / 1e9))
    third = session.prepare(dataclasses.replace(BASE, latent_layer=9))
    assert third.cache.path.exists()
    assert not old.exists()


@pytest.mark.parametrize("switch", ["off", "no room", "a blink"])
def test_without_a_store_memory_serves(switch, monkeypatch):
    if switch == "off":
        monkeypatch.setenv("QLRJAX_CACHE", "off")
    elif switch == "no room":
        monkeypatch.setenv("QLRJAX_LATENTS_GB", "0")
    else:
        monkeypatch.setattr(latents, "_LEAST_MACS", 1e12)
    work = session.prepare(BASE)
    assert isinstance(work.cache, latents.InMemory)
    assert work.cache.bytes == work.test_latents.nbytes
    np.testing.assert_array_equal(work.test_latents, computed(work, work.stream.test))


def test_a_store_that_cannot_be_written_is_no_error(own_cache):
    work = session.prepare(BASE)
    path = work.cache.path
    path.unlink()
    path.mkdir()  # neither readable nor writable as a file
    np.testing.assert_array_equal(
        latents.read(work.extractor, work.stream, work.stream.test, work.cache),
        work.test_latents,
    )


def test_a_wrong_limit_is_named(monkeypatch):
    monkeypatch.setenv("QLRJAX_LATENTS_GB", "plenty")
    with pytest.raises(ValueError, match="QLRJAX_LATENTS_GB is 'plenty'"):
        latents.limit_bytes()
