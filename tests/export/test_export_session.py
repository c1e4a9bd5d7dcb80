"""Every export of a run that has really learned, by the command line, read back by others."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import firmware, oracle

from qlrjax import cli
from qlrjax import settings as settings_file
from qlrjax.cli import export as cli_export
from qlrjax.export import session_arrays
from qlrjax.integer import deployed, fixedpoint
from qlrjax.runs import run
from qlrjax.settings import Settings
from qlrjax.streams import builtin
from qlrjax.streams.settings import StreamSettings
from qlrjax.training import evaluate
from qlrjax.training.learner import Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import Strategy

SETTINGS = Settings(
    latent_layer=26,
    replays=9,
    bits=6,
    weights="random:2:0.25",
    resolution=40,
    seed=1,
    calibration_images=8,
    stream=StreamSettings(
        data="builtin",
        train_per_class=4,
        test_per_class=1,
        sessions=1,
        first_classes=5,
        pairs_per_event=5,
    ),
    protocol=Protocol(minibatch=8, first_epochs=1, epochs=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two events of Fashion-MNIST at layer 26 of a small network, 6-bit replays."""
    path = tmp_path_factory.mktemp("run") / "run"
    assert run.run(SETTINGS, path).finished
    return path


@pytest.fixture(scope="module")
def opened(folder):
    return run.open_run(folder)


@pytest.fixture(scope="module")
def images():
    source = builtin.source((40, 40))
    return source.read(np.arange(0, 4000, 500))


@pytest.mark.parametrize("what", ["onnx", "qdq"])
def test_onnx(folder, opened, images, what, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")
    from support import onnx_runtime

    out = tmp_path / "new" / "model.onnx"
    assert cli.main(["export", str(folder), "--format", what, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    got = onnx_runtime.run(out.read_bytes(), images)
    codes = opened.extractor(images)
    if what == "onnx":  # narrowed as the replay memory stores them
        np.testing.assert_array_equal(got, fixedpoint.narrow(jax.numpy.asarray(codes), 6))
    else:
        assert np.abs(got.astype(int) - codes.astype(int)).mean() < 1


def test_npz(folder, opened, images):
    assert cli.main(["export", str(folder), "--format", "npz"]) == 0
    path = folder / "export" / "arrays.npz"
    stage = deployed.load(path, (40, 40, 3))
    np.testing.assert_array_equal(oracle.apply(stage, images), opened.extractor(images))
    learner = opened.state.learner
    with np.load(path, allow_pickle=False) as archive:
        assert archive["class_names"].tolist() == list(builtin.CLASS_NAMES)
        head, center = learner.training.params["head"], learner.training.center
        np.testing.assert_array_equal(archive["head"], head)
        np.testing.assert_allclose(archive["head_bias"], -(center @ head), rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(archive["replay.data"], learner.memory.data)
        name = opened.extractor.cut.above[0].name
        for field, value in learner.training.params["layers"][name].items():
            np.testing.assert_array_equal(archive[f"adaptive.{name}.{field}"], value)
        for field, value in learner.training.statistics[name].items():
            np.testing.assert_array_equal(archive[f"adaptive.{name}.{field}"], value)
        assert archive["latent_max"] == opened.extractor.latent_max


class Biased(Strategy):
    """One of one's own, whose head has a bias."""

    def predict(self, kept, params):
        return {**params, "bias": jnp.ones(params["head"].shape[1], jnp.float32)}


def test_a_bias_and_the_center_are_both_in_the_exported_bias(opened):
    state, stage = opened.state.learner, opened.extractor
    learns = Learner(stage.cut, SETTINGS.protocol, Biased())
    arrays = session_arrays.learned(stage.quantized, learns, state, opened.class_names)
    shift = state.training.center @ state.training.params["head"]
    np.testing.assert_allclose(arrays["head_bias"], 1 - shift, rtol=1e-5, atol=1e-6)


def test_c(folder, opened, images, tmp_path, capsys):
    out = tmp_path / "c"
    assert cli.main(["export", str(folder), "--format", "c", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    memory = opened.state.learner.memory
    assert f"| replay memory (packed) | {memory.bytes + 1:,} |" in printed
    assert "goes on with the portable" in printed
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler named cc")
    board = firmware.client().Learner.run(firmware.build_host(out), cwd=out)
    assert board.info["event"] == int(opened.state.learner.event)
    seen = np.asarray(opened.state.learner.training.kept.head.past) > 0
    logits = evaluate.logits(opened.learner, opened.state.learner, opened.extractor(images))
    for image, row in zip(images, logits, strict=True):
        best, got = board.predict(image.tobytes())
        np.testing.assert_allclose(got, row, rtol=1e-4, atol=1e-5)
        assert best == np.where(seen, row, -np.inf).argmax()
    assert np.array_equal(board.dump()[1], np.asarray(memory.data).tobytes())
    board.quit()


def test_firmware_for_a_board(folder, tmp_path, capsys):
    out = tmp_path / "board"
    words = ["export", str(folder), "--format", "firmware", "--target", "mps2-an386", "--json"]
    assert cli.main([*words, "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert json.loads((out / "sizes.json").read_text()) == facts
    assert all(row["used"] + row["reserved"] <= row["bytes"] for row in facts["memories"])
    assert cli.main([*words[:4], "--target", "netduinoplus2"]) == 2
    said = capsys.readouterr().err
    assert "does not fit netduinoplus2" in said
    assert "the largest buffer is the first head, momentum and replays" in said
    assert cli.main([*words[:4], "--target", "abacus"]) == 2
    assert "no target 'abacus'" in capsys.readouterr().err


def test_state_goes_to_another_folder_and_on(folder, opened, tmp_path, capsys):
    file, copy = tmp_path / "run.npz", tmp_path / "copy"
    assert cli.main(["export", str(folder), "--format", "state", "--out", str(file)]) == 0
    assert cli.main(["import", str(file), str(copy)]) == 0
    assert "2 learned events, 10 classes" in capsys.readouterr().out
    again = run.open_run(copy)
    for one, other in zip(jax.tree.leaves(again.state), jax.tree.leaves(opened.state), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (copy / run.EVENTS).read_bytes() == (folder / run.EVENTS).read_bytes()
    assert settings_file.load(copy / run.SETTINGS) == SETTINGS
    assert cli.main(["import", str(file), str(copy)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_faults_are_sentences(folder, opened, tmp_path, monkeypatch, capsys):
    assert cli.main(["export", str(tmp_path / "none")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "none"), "--format", "state"]) == 2
    assert "no run folder" in capsys.readouterr().err
    (tmp_path / "x.npz").write_bytes(json.dumps({}).encode())
    assert cli.main(["import", str(tmp_path / "x.npz"), str(tmp_path / "y")]) == 2
    assert "x.npz" in capsys.readouterr().err
    floating = dataclasses.replace(opened, settings=dataclasses.replace(SETTINGS, frozen="float32"))
    with pytest.raises(ValueError, match="only integer stages can be exported"):
        cli_export.write("onnx", tmp_path / "x", floating)

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(cli_export.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'qlrjax\[onnx\]'"):
        cli_export.write("qdq", tmp_path / "x", opened)
