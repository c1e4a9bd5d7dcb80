"""Every export of a session that has really learned, read back by something else than qlrjax."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from qlrjax import cli_export, deployed, extractor, fixedpoint, learner, quantize, replay
from qlrjax.cli_export import Learned
from qlrjax.settings import Settings
from qlrjax.weights import load


@pytest.fixture(scope="module")
def learned():
    """Two events of random images at layer 26 of a small network, 6-bit replays."""
    protocol = learner.Protocol(minibatch=8, first_epochs=1, epochs=1)
    settings = Settings(latent_layer=26, bits=6, replays=7, protocol=protocol, resolution=40)
    network, parameters = load("random:2:0.25", 4, 40)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (16, 40, 40, 3)).astype(np.uint8)
    stage = quantize.quantize(network, parameters, images, 26)
    source = extractor.Extractor(network, 26, stage, None)
    params, statistics = learner.adaptive.init(network, parameters, 26)
    memory = replay.init(7, network.latent_shape(26), 6, source.latent_max)
    state = learner.init(network, 26, protocol, params, statistics, memory)
    latents = source(images)
    for event in range(2):
        labels = (np.arange(8) % 2 + 2 * event).astype(np.int32)
        part = jnp.asarray(latents[8 * event : 8 * event + 8])
        state, _ = learner.learn_event(network, 26, protocol, state, part, labels, event, 0)
    return Learned(settings, source, state, ("cup", "ball", "can", "glass")), images


def test_onnx(learned, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")
    run, images = learned
    codes = jnp.asarray(run.extractor(images))
    for what in ("onnx", "qdq"):
        message = cli_export.write(what, tmp_path / what, run)
        assert str(tmp_path / what) in message
        session = runtime.InferenceSession(str(tmp_path / what), providers=["CPUExecutionProvider"])
        got = session.run(None, {"images": images})[0]
        if what == "onnx":  # narrowed as the replay memory stores them
            np.testing.assert_array_equal(got, fixedpoint.narrow(codes, 6))
        else:
            assert np.abs(got.astype(int) - np.asarray(codes).astype(int)).mean() < 1


def test_npz(learned, tmp_path):
    run, images = learned
    cli_export.write("npz", tmp_path / "a.npz", run)
    stage = deployed.load(tmp_path / "a.npz", (40, 40, 3))
    expected = run.extractor(images)
    np.testing.assert_array_equal(oracle.apply(stage, images[:2]), expected[:2])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["class_names"].tolist() == ["cup", "ball", "can", "glass"]
        np.testing.assert_array_equal(archive["head"], run.state.head.weight)
        np.testing.assert_array_equal(archive["replay.data"], run.state.memory.data)
        name = run.extractor.network.layers[26].name
        own = run.state.training.params["layers"][name]
        np.testing.assert_array_equal(archive[f"adaptive.{name}.gamma"], own["gamma"])
        assert archive["latent_max"] == run.extractor.latent_max
        count = jax.tree.reduce(lambda total, leaf: total + leaf.size, own, 0)
        stored = sum(archive[f"adaptive.{name}.{key}"].size for key in own)
        assert stored == count


def test_c(learned, tmp_path):
    run, _ = learned
    message = cli_export.write("c", tmp_path / "c", run)
    assert "| replay memory (packed) |" in message
    assert "HyperRAM (67,108,864 B)" in message
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names >= {"main.c", "net.h", "frozen_data.h", "replay_data.h", "adaptive_data.h"}
    if shutil.which("cc"):
        import subprocess

        folder = tmp_path / "c"
        subprocess.run(["cc", "-std=c99", *map(str, folder.glob("*.c")), "-lm", "-o",
                        folder / "qlr"], check=True)  # fmt: skip


def test_float_runs_are_refused(learned, tmp_path):
    run, _ = learned
    other = Learned(Settings(frozen="float32"), run.extractor, run.state, run.class_names)
    with pytest.raises(ValueError, match="only integer stages can be exported"):
        cli_export.write("onnx", tmp_path / "x", other)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(learned, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(cli_export.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'qlrjax\[onnx\]'"):
        cli_export.write("qdq", tmp_path / "x", learned[0])
