"""The exported C program, built by the host's compiler: integers bit for bit, a step to 1e-5."""

import functools
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import cases, oracle, oracle_float

from qlrjax.export.c import layout as c_layout
from qlrjax.export.c import sizes as c_sizes
from qlrjax.export.c import source as c_source
from qlrjax.export.c import text as c_text
from qlrjax.integer import latent_codes
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, replay
from qlrjax.training.protocol import Protocol, optimizer

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler named cc")
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow"]
LATENT_MAX, SLOTS, FILLED, BATCH = 3.7, 7, 5, 6
STEP = c_source.StepSettings(BATCH, 0.01, 0.9, 5e-4, 0.01, 1.25, 0.5)


class Case:
    """A random session, cut somewhere: what `c_source.export` takes."""

    def __init__(self, latent_layer, bits, settings=STEP, activation="relu6", convention="pytorch"):
        random = np.random.default_rng(latent_layer)
        network = mobilenet_v1(0.25, (39, 47), 10, convention, activation)
        self.cut, self.settings = Cut(network, latent_layer), settings
        self.stage = cases.random_stage(network, latent_layer, random)
        self.latent_max = 255.0 if latent_layer == 0 else LATENT_MAX
        shape = self.cut.latent_shape
        memory = replay.init(SLOTS, shape, bits, self.latent_max)
        codes = random.integers(0, 256, (FILLED, *shape)).astype(np.uint8)
        data, labels = np.array(memory.data), np.array(memory.labels)
        for slot, latent in enumerate(codes.reshape(FILLED, -1)):
            narrow = np.floor(latent / 255 * (2**bits - 1) + 0.5).astype(np.uint8)
            data[slot], labels[slot] = oracle.pack(narrow, bits), random.integers(10)
        self.memory = memory.replace(
            data=jnp.asarray(data),
            labels=jnp.asarray(labels),
            filled=jnp.asarray(FILLED, jnp.int32),
        )
        parameters = cases.random_parameters(network, random)
        self.params, self.statistics = adaptive.init(self.cut, parameters)
        self.params["head"] = jnp.asarray(
            random.normal(0, 0.05, self.params["head"].shape), jnp.float32
        )
        batch = random.integers(0, 256, (BATCH, *shape)).astype(np.uint8)
        self.batch = batch * np.float32(latent_codes.scale(self.latent_max, 8))
        self.labels = random.integers(0, 10, BATCH).astype(np.int32)
        self.images = random.integers(0, 256, (3, *self.cut.image_shape)).astype(np.uint8)

    def build(self, folder):
        quantized = QuantizedStage(self.stage, (self.latent_max,))
        self.sections = c_source.export(
            folder, self.cut, quantized, self.memory, self.params, self.statistics, self.settings
        )
        sources = sorted(map(str, folder.glob("*.c")))
        subprocess.run([COMPILER, *FLAGS, *sources, "-lm", "-o", folder / "qlr"], check=True)
        self.folder = folder
        return self

    def run(self, *arguments):
        done = subprocess.run(
            ["./qlr", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def step_by_hand(self):
        """The same step in float64: the direction of SGD, statistics and loss."""
        limits = (STEP.r_max, STEP.d_max) if self.settings.batch_statistics else None
        done = oracle_float.forward(
            self.cut, self.params, self.statistics, self.batch, self.labels, limits
        )
        gradients, _ = oracle_float.backward(done, self.params, self.labels, limits is not None)
        zeros = oracle_float.tree_map(np.zeros_like, self.params)
        _, updates = oracle_float.sgd(self.params, gradients, zeros, 1.0, 0.9, STEP.weight_decay)
        if not self.settings.train_layers:
            updates["layers"] = zeros["layers"]
        moved = {
            name: oracle_float.tree_map(
                lambda old, new: old + STEP.renorm_momentum * (new - old),
                self.statistics[name],
                moments,
            )
            for name, moments in done.moments.items()
        }
        return updates, moved or self.statistics, done.loss

    def step_by_jax(self):
        """The same step by `adaptive` and the learner's optimizer."""
        limits = adaptive.RenormLimits(jnp.float32(STEP.r_max), jnp.float32(STEP.d_max))

        def loss_of(params):
            logits, moments = adaptive.forward(
                self.cut, params, self.statistics, jnp.asarray(self.batch), limits
            )
            ones = jnp.ones(BATCH, bool)
            return adaptive.cross_entropy(logits, jnp.asarray(self.labels), ones), moments

        (loss, moments), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(self.params)
        rule = optimizer(Protocol(weight_decay=STEP.weight_decay))
        updates, _ = rule.update(gradients, rule.init(self.params), self.params)
        rate = jnp.float32(STEP.renorm_momentum)
        return updates, adaptive.update_statistics(self.statistics, moments, rate), loss

    def split(self, flat, statistics):
        """The C program's flat parameters as our tree, in our layouts."""
        layers, at = {}, 0
        for layer in self.cut.normalised:
            own = {}
            for name, size in (("weight", layer.weights), ("gamma", layer.out_channels),
                               ("beta", layer.out_channels)):  # fmt: skip
                own[name], at = flat[at : at + size], at + size
            shape = c_source.c_weights(layer.kind, np.empty(layer.weight_shape)).shape
            weight = own["weight"].reshape(shape)
            axes = {4: (1, 2, 3, 0), 3: (1, 2, 0)}.get(weight.ndim, (1, 0))
            own["weight"] = weight.transpose(axes)
            layers[layer.name] = own
        head = flat[at:].reshape(self.cut.classes, -1).T
        names, c = list(layers), 0
        means, deviations = np.split(statistics, 2)
        moments = {}
        for name in names:
            width = len(layers[name]["beta"])
            moments[name] = {"mean": means[c : c + width], "std": deviations[c : c + width]}
            c += width
        return {"layers": layers, "head": head}, moments


def assert_close(one, other, tolerance=1e-5):
    """Every leaf within `tolerance` of the leaf's own length: relative to its norm."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        norm = np.linalg.norm(b)
        assert np.linalg.norm(a - b) <= tolerance * norm, (path, np.linalg.norm(a - b) / norm)


@functools.cache
def built(latent_layer, bits, folder):
    return Case(latent_layer, bits).build(folder)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Builds each cut once; every cut has another width of codes."""

    def get(latent_layer):
        bits = {0: 8, 14: 5, 23: 7, 27: 6}[latent_layer]
        return built(latent_layer, bits, tmp_path_factory.getbasetemp() / f"c{latent_layer}")

    return get


@needs_compiler
@pytest.mark.parametrize("latent_layer", [14, 23, 27])
def test_frozen_stage_is_bit_equal(program, latent_layer):
    case = program(latent_layer)
    (case.folder / "images").write_bytes(case.images.tobytes())
    case.run("frozen", "images", "codes")
    got = np.fromfile(case.folder / "codes", np.uint8)
    np.testing.assert_array_equal(got, oracle.apply(case.stage, case.images).ravel())


@needs_compiler
@pytest.mark.parametrize("latent_layer", [0, 14, 23, 27])
def test_packed_replays_are_bit_equal(program, latent_layer):
    case = program(latent_layer)
    case.run("replays", "codes")
    elements = case.cut.latent_elements
    got = np.fromfile(case.folder / "codes", np.uint8).reshape(FILLED, elements)
    rows = np.asarray(case.memory.data)[:FILLED]
    expected = [oracle.unpack(row, case.memory.bits, elements) for row in rows]
    np.testing.assert_array_equal(got, expected)


def compare_step(case, reference, tolerance=1e-5):
    (case.folder / "latents").write_bytes(case.batch.astype(np.float32).tobytes())
    (case.folder / "labels").write_bytes(case.labels.tobytes())
    case.run("step", "latents", "labels", "result")
    result = np.fromfile(case.folder / "result", np.float32)
    updates, statistics, loss = reference(case)
    size = sum(leaf.size for leaf in jax.tree.leaves(updates))
    np.testing.assert_allclose(result[0], loss, rtol=1e-5)
    params, moments = case.split(result[1 : 1 + size], result[1 + size :])
    assert_close(moments, statistics)
    # The step itself, and not only the parameters it hardly moves. They are stored in float32, so
    # a step is known to half a last digit of them.
    leaves = zip(
        jax.tree.leaves_with_path(params), jax.tree.leaves(case.params), jax.tree.leaves(updates),
        strict=True,
    )  # fmt: skip
    for (path, new), old, u in leaves:
        old, step = np.asarray(old, np.float64), STEP.learning_rate * np.asarray(u, np.float64)
        slack = tolerance * np.linalg.norm(step) + 6e-8 * np.linalg.norm(old)
        off = np.linalg.norm(np.asarray(new) - old + step)
        assert off <= slack, (path, off / np.linalg.norm(step))


@needs_compiler
@pytest.mark.parametrize("latent_layer", [0, 14, 23, 27])
def test_training_step(program, latent_layer):
    """Against float64; at l = 0, see test_gradients about FP32 through 27 normalised layers."""
    tolerance = 1e-3 if latent_layer == 0 else 1e-5
    compare_step(program(latent_layer), Case.step_by_hand, tolerance)


@needs_compiler
def test_training_step_is_ours(program):
    compare_step(program(23), Case.step_by_jax)


@needs_compiler
@pytest.mark.parametrize("change", [{"batch_statistics": False}, {"train_layers": False}])
def test_other_ways_to_train(change, tmp_path):
    settings = c_source.StepSettings(**{**vars(STEP), **change, "batch_statistics": False})
    case = Case(21, 8, settings, "relu", "tensorflow").build(tmp_path)
    compare_step(case, Case.step_by_hand)


@needs_compiler
def test_demo_learns_and_memory_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(c_source, "_HEADER_LIMIT_BYTES", 100)
    case = Case(24, 3).build(tmp_path)
    assert (tmp_path / "replay.bin").stat().st_size == case.memory.bytes
    case.run("replays", "codes")
    elements = case.cut.latent_elements
    expected = [oracle.unpack(row, 3, elements) for row in np.asarray(case.memory.data)[:FILLED]]
    np.testing.assert_array_equal(np.fromfile(tmp_path / "codes", np.uint8), np.ravel(expected))
    (tmp_path / "images").write_bytes(case.images.tobytes())
    losses = [float(line.split()[-1]) for line in case.run("demo", "images").splitlines()
              if "loss" in line]  # fmt: skip
    assert losses == sorted(losses, reverse=True)
    (tmp_path / "replay.bin").write_bytes(b"")
    failed = subprocess.run(["./qlr", "demo", "images"], cwd=tmp_path, capture_output=True)
    assert failed.returncode == 1
    assert b"missing or too short" in failed.stderr


@needs_compiler
def test_c_writes_a_replay_as_we_do(tmp_path):
    """qlr_replay_write narrows and packs one latent: compare the bytes, through a small driver."""
    case = Case(27, 6).build(tmp_path)
    codes = np.random.default_rng(0).integers(0, 256, (1, *case.memory.shape)).astype(np.uint8)
    (tmp_path / "new").write_bytes(codes.tobytes())
    driver = tmp_path / "driver.c"
    driver.write_text(
        '#include <stdio.h>\n#include "net.h"\n#include "qlr_replay.h"\n'
        "int main(void) { static uint8_t codes[LATENT_ELEMENTS];\n"
        '  FILE *f = fopen("new", "rb"); if (fread(codes, sizeof codes, 1, f) != 1) return 1;\n'
        "  qlr_replay_write(REPLAY_SLOTS - 1, codes, 4);\n"
        "  return fwrite(qlr_replay_bytes(), LATENT_BYTES, REPLAY_SLOTS, stdout)"
        " != REPLAY_SLOTS; }\n"
    )
    subprocess.run(
        [COMPILER, *FLAGS, driver, tmp_path / "qlr_replay.c", "-o", tmp_path / "driver"], check=True
    )
    out = subprocess.run([tmp_path / "driver"], cwd=tmp_path, capture_output=True, check=True)
    got = np.frombuffer(out.stdout, np.uint8).reshape(SLOTS, -1)
    expected = np.array(case.memory.data)
    expected[-1] = jax.jit(replay.encode)(case.memory, jnp.asarray(codes))[0]
    np.testing.assert_array_equal(got, expected)


def test_sizes_are_those_of_the_paper():
    """MobileNet-V1 1.0 at 128 pixels, cut at layer 23: sections against hand counts."""
    cut = Cut(mobilenet_v1(), 23)
    stage = cases.random_stage(cut.network, 23, np.random.default_rng(0))
    memory = replay.init(30, cut.latent_shape, 7, 1.0)
    offsets = c_layout.Offsets.of(cut, BATCH)
    shapes = [layer.out_shape for layer in cut.below]
    sections = c_layout.sections(cut, stage, shapes, memory, offsets)
    assert sections["frozen weights (int8)"] == 3_236_288 - 1_637_888
    assert sections["replay memory (packed)"] == 30 * 28_672
    assert sections["frozen activations, in and out of one layer"] == 131_072 + 262_144
    norm = 2 * (512 + 3 * 1024)
    assert sections["adaptive parameters and statistics (FP32)"] == 4 * (1_637_888 + 2 * norm)
    text = c_sizes.table(sections)
    assert "| frozen weights (int8) | 1,598,400 | too large | 38.1% | 2.4% |" in text


def test_what_cannot_be_exported_is_refused(tmp_path):
    case = Case(27, 6)
    case.memory = replay.init(SLOTS, case.memory.shape, 32)
    with pytest.raises(ValueError, match="float32 latents"):
        case.build(tmp_path)
    case.memory = replay.init(SLOTS, (2, 2, 5), 8)
    with pytest.raises(ValueError, match="not of one session"):
        case.build(tmp_path)


def test_numbers_survive_as_text():
    """float32 needs nine digits, and INT32_MIN is no C constant."""
    values = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32) * np.float32(1e-20)
    text = c_text.array("x", values).split("{")[1].split("}")[0]
    got = [np.float32(word.strip().removesuffix("f")) for word in text.split(",")]
    np.testing.assert_array_equal(got, values)
    assert "(-2147483647 - 1)" in c_text.array("y", np.array([-(2**31)], np.int32))
    assert c_text.array("z", np.zeros(0, np.uint8), size="N + 1").endswith("z[N + 1] = {0};\n")
