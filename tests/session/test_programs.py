"""Kept programs and calibrated stages: the bits of fresh ones, whatever lies in their folder."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from qlrjax import caches, calibrated, programs, weights
from qlrjax.integer import stagefile
from qlrjax.integer.extractor import Extractor
from qlrjax.network import Cut
from qlrjax.runs.opened import open_run

ROOT = Path(__file__).resolve().parents[2]
RUN = (
    *("--latent-layer", "12", "--replays", "8", "--weights", "resnet8:random:1"),
    *("--resolution", "32", "--calibration-images", "12", "--data", "synthetic:3x4x6"),
    *("--first-classes", "2", "--minibatch", "8", "--normalization", "none", "--no-contrast"),
)
# How often XLA compiled, and how often a kept program was found instead.
COUNTING = """
import json, sys, jax
from jax import monitoring
found, compiled = [], []
def count(name, **_):
    if name == "/jax/compilation_cache/cache_hits": found.append(name)
    if name == "/jax/compilation_cache/cache_misses": compiled.append(name)
monitoring.register_event_listener(count)
from qlrjax import cli
code = cli.main(sys.argv[1:])
print(json.dumps([len(found), len(compiled)]))
sys.exit(code)
"""


def run(out, compiled, **more):
    """A short session in a process of its own: [found, compiled]; and its stderr."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "hw")])
    own |= {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "QLRJAX_COMPILED": str(compiled), **more}
    words = [sys.executable, "-c", COUNTING, "run", "--out", str(out), *RUN]
    done = subprocess.run(words, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def learned(out):
    """Digests of all that is the same in the same session: its stage, its state, its log."""
    digests = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("frozen.npz", "fidelity.csv", "accuracy.csv", "events.jsonl")
    }
    for path, leaf in jax.tree_util.tree_leaves_with_path(open_run(out).state):
        digests[jax.tree_util.keystr(path)] = hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
    return digests


@pytest.mark.long
def test_kept_programs_give_the_bits_of_fresh_ones_and_damage_costs_time_only(tmp_path):
    kept = tmp_path / "kept"
    (found, compiled), _ = run(tmp_path / "fresh", "off")
    assert found == compiled == 0  # nothing is kept, nobody counts
    (_, compiled), _ = run(tmp_path / "first", kept)
    assert compiled > 0
    (found, compiled), said = run(tmp_path / "second", kept)
    assert found > 0
    assert compiled == 0, said
    for place, path in enumerate(sorted(kept.glob("xla-*/*-cache"))):
        data = bytearray(path.read_bytes())
        if place % 3 == 0:
            data[len(data) // 2] ^= 1
        elif place % 3 == 1:
            del data[len(data) // 2 :]
        path.write_bytes(data)
    (found, compiled), said = run(tmp_path / "damaged", kept)
    assert found
    assert compiled
    assert "persistent compilation cache" not in said
    fresh = learned(tmp_path / "fresh")
    for other in ("first", "second", "damaged"):
        assert learned(tmp_path / other) == fresh


def signed(folder, name, content=b"program"):
    """A program as JAX and `sign` leave it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-cache").write_bytes(content)
    (folder / f"{name}-atime").write_bytes(bytes(8))
    (folder / f"{name}-sha256").write_text(hashlib.sha256(content).hexdigest())


def names(folder):
    return {path.name for path in folder.iterdir()} - {".lockfile"}


def test_what_is_not_whole_goes(tmp_path):
    place = tmp_path / "xla-1"
    for name in ("good", "flipped", "unsigned", "unstamped", "gone"):
        signed(place, name)
    good = {"good-cache", "good-atime", "good-sha256"}
    (place / "flipped-cache").write_bytes(b"progran")
    (place / "unsigned-sha256").unlink()
    (place / "unstamped-atime").unlink()
    (place / "gone-cache").unlink()
    (place / "mine.txt").write_text("x")
    assert programs.check(place, 10**6)
    assert names(place) == {*good, "mine.txt"}
    (place / "fresh-cache").write_bytes(b"new")
    (place / "fresh-atime").write_bytes(bytes(8))
    programs.sign(place)
    assert programs.check(place, 10**6)
    assert names(place) == {*good, "mine.txt", "fresh-cache", "fresh-atime", "fresh-sha256"}


def test_other_machines_programs_make_room_and_nothing_else_does(tmp_path):
    for number in range(3):
        signed(tmp_path / f"xla-{number}", "a", bytes(50_000))
        os.utime(tmp_path / f"xla-{number}", (number, number))
    outside = tmp_path / "elsewhere"
    signed(outside, "a", bytes(50_000))
    (tmp_path / "xla-link").symlink_to(outside)
    one = caches.size(tmp_path / "xla-2")
    assert programs.check(tmp_path / "xla-2", 2 * one)
    assert not (tmp_path / "xla-0").exists()
    assert (tmp_path / "xla-1" / "a-cache").exists()
    assert (outside / "a-cache").exists()


@pytest.mark.parametrize("place", ["a file", "others may write", "off", "no room"])
def test_a_folder_that_cannot_be_trusted_is_not_used(place, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    chosen = tmp_path / "chosen"
    monkeypatch.setenv("QLRJAX_COMPILED", "off" if place == "off" else str(chosen))
    if place == "a file":
        chosen.write_text("x")
    elif place == "others may write":
        chosen.mkdir()
        chosen.chmod(0o777)
    elif place == "no room":
        monkeypatch.setenv("QLRJAX_COMPILED_MB", "0")
    assert programs.keep() is None
    if place != "no room":
        assert "not kept" in programs.description()


def test_a_folder_that_jax_was_given_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert programs.keep() is None
    assert programs.description().startswith(str(tmp_path))


def test_a_wrong_limit_is_named(monkeypatch):
    monkeypatch.setenv("QLRJAX_COMPILED_MB", "plenty")
    with pytest.raises(ValueError, match="QLRJAX_COMPILED_MB is 'plenty'"):
        programs.limit_bytes()


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A cut, its parameters and images, and a cache of the test's own."""
    monkeypatch.setenv("QLRJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibrated, "_LEAST_MACS", 0.0)
    network, parameters = weights.load("random:1:0.25", 2, 32)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    return Cut(network, 3), parameters, images


class Computed(Exception):
    """Raised in place of computing."""


def would_compute(monkeypatch, *arguments):
    """Whether a stage of these arguments is computed, and not found."""

    def refuse(*_):
        raise Computed

    with monkeypatch.context() as patched:
        patched.setattr(calibrated.quantize, "quantize", refuse)
        patched.setattr(calibrated.quantize, "ranges", refuse)
        try:
            calibrated.stage(*arguments)
        except Computed:
            return True
    return False


def bits(cut, stage):
    return stagefile.dump(Extractor(cut, stage, None))


@pytest.mark.parametrize("integer", [True, False])
def test_a_stage_is_calibrated_once_and_has_the_same_bits(integer, given, tmp_path, monkeypatch):
    cut, parameters, images = given
    first = calibrated.stage(*given, integer)
    assert not would_compute(monkeypatch, *given, integer)
    assert bits(cut, calibrated.stage(*given, integer)) == bits(cut, first)
    other = dict(parameters)
    name = cut.below[0].name
    other[name] = {**other[name], "weight": np.asarray(other[name]["weight"]) * 1.001}
    assert would_compute(monkeypatch, *given, not integer)
    assert would_compute(monkeypatch, Cut(cut.network, 1), parameters, images, integer)
    assert would_compute(monkeypatch, cut, other, images, integer)
    assert would_compute(monkeypatch, cut, parameters, images[:3], integer)
    assert would_compute(monkeypatch, cut, parameters, images[::-1], integer)
    with monkeypatch.context() as patched:
        patched.setattr(caches, "machine", lambda: "another")
        assert would_compute(monkeypatch, *given, integer)
    [path] = (tmp_path / "cache" / "calibrated").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert would_compute(monkeypatch, *given, integer)
    assert bits(cut, calibrated.stage(*given, integer)) == bits(cut, first)
    assert not would_compute(monkeypatch, *given, integer)


def test_fidelity_is_measured_once(given, monkeypatch):
    cut, parameters, images = given
    stage = calibrated.stage(*given, True)
    first = calibrated.measured(cut, parameters, stage, images)
    assert calibrated.measured(cut, parameters, stage, np.flip(images, axis=2)) != first
    monkeypatch.setattr(calibrated.fidelity, "fidelity", None)  # would not be called
    assert calibrated.measured(cut, parameters, stage, images) == first
