"""Sizes are computed and refused before anything is allocated, with the figures in the sentence."""

import dataclasses
import resource
import time
import zipfile

import numpy as np
import pytest
from support import crafted, tiny

from qlrjax import cli, needs, settings
from qlrjax.settings import Settings

RUN = ("run", "--out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replays", "1000000000000"), "replays of 7 bits (--replays)"),
        (("--replays", str(10**20)), "replays of 7 bits (--replays)"),
        (("--resolution", "100000"), "that no memory holds"),
        (("--resolution", "50000"), "a mini-batch of 128 latents"),
        (("--weights", "random:1:1000"), "weights (--weights)"),
        (("--weights", "random:1:1000000"), "that no memory holds"),
        (("--minibatch", "1000000000000"), "a mini-batch of 1000000000000 latents"),
        (("--epochs", "1000000000000"), "the order of 1000000000000 epochs (--epochs)"),
        (("--data", "synthetic:100000x100000x100000"), "images of synthetic:"),
        (("--data", "synthetic:2000000000x2x1"), "images of synthetic:"),
        (("--data", "synthetic:" + "9" * 200 + "x2x2"), "images of synthetic:"),
    ],
)
def test_settings_that_no_machine_holds_are_refused_at_once(tmp_path, refused, words, said):
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sentence = refused(*RUN, tmp_path / "run", *tiny.WORDS, *words)
    assert said in sentence
    assert "GB" in sentence or "no memory holds" in sentence
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kB
    assert not (tmp_path / "run").exists()


def test_more_than_a_year_of_work_is_refused_with_its_days():
    chosen = Settings(latent_layer=0, weights="random:0", replays=0)
    protocol = dataclasses.replace(chosen.protocol, epochs=10**6, first_epochs=10**6)
    chosen = dataclasses.replace(chosen, protocol=protocol)
    needs.check(chosen, 10, 10, 1, available=2**50)
    with pytest.raises(ValueError, match=r"at least \S+ days: 1000000 images, 1000000 epochs"):
        needs.check(chosen, 10, 10, 10**6, available=2**50)


def test_what_is_not_refused_was_a_lower_bound():
    """The defaults, and every preset's, pass on a machine of 4 GB."""
    from qlrjax import presets

    for chosen in presets.PRESETS.values():
        needs.check(chosen, 50, 391, 120_000, available=4 * 10**9)


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "run.npz"
    assert cli.main(["export", str(finished), "--format", "state", "--out", str(path)]) == 0
    return path


def settings_bomb(export, **values):
    changed = dataclasses.replace(settings.from_dict(export.about["settings"]), **values)
    export.about["settings"] = settings.to_dict(changed)
    export.files["files/settings.toml.npy"] = settings.dump(changed).encode()


def many_replays(export):
    settings_bomb(export, replays=10**13)


def many_events(export):
    export.about["extra"]["events"] = 10**6
    export.about["extra"]["class_names"] = [f"c{n}" for n in range(90_000)]


def compressed_stage(export):
    def grow(arrays):
        arrays["0/weight"] = np.zeros((2**14, 2**14), np.int8)

    stage = export.files["files/frozen.npz.npy"]
    export.files["files/frozen.npz.npy"] = crafted.npz(stage, grow, compressed=True)


def wide_network(export):
    def widen(arrays):
        text = bytes(arrays["meta"]).replace(b'"width": 0.25', b'"width": 63.0')
        arrays["meta"] = np.frombuffer(text, np.uint8)

    stage = export.files["files/frozen.npz.npy"]
    export.files["files/frozen.npz.npy"] = crafted.npz(stage, widen, compressed=False)


@pytest.mark.parametrize("bomb", [many_replays, many_events, compressed_stage, wide_network])
def test_imports_that_ask_for_gigabytes_are_refused_and_leave_nothing(
    exported, tmp_path, refused, bomb
):
    export = crafted.Export(exported)
    bomb(export)
    path = export.write(tmp_path / "x.npz")
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused("import", path, tmp_path / "run")
    assert time.process_time() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert not (tmp_path / "run").exists()


def test_weights_from_files_that_are_bombs_or_none(tmp_path, refused):
    h5py = pytest.importorskip("h5py")
    empty = tmp_path / "empty.npz"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("notes.txt", "no arrays")
    with h5py.File(tmp_path / "sparse.h5", "w") as file:
        file.create_dataset("conv1/conv1/kernel:0", (3, 3, 3, 2**30), "f4", chunks=(3, 3, 3, 64))
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, **{"conv1:weight": np.zeros((3, 3, 3, 2**22), np.float32)})
    (tmp_path / "pipe.npz").symlink_to("/dev/zero")
    words = list(tiny.WORDS)
    place = words.index("--weights") + 1
    for name in ("empty.npz", "sparse.h5", "packed.npz", "pipe.npz", "missing.npz", "run"):
        words[place] = str(tmp_path / name)
        said = refused(*RUN, tmp_path / "run", *words)
        assert name in said
