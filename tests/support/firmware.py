"""Sessions that run twice, in JAX and in the exported firmware, and the comparison of the two."""

import functools
import importlib.util
import shlex
import subprocess
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from support import cases

from qlrjax import weights
from qlrjax.export.firmware import board as firmware_board
from qlrjax.export.firmware import source
from qlrjax.export.firmware import tables as firmware_tables
from qlrjax.export.firmware import target as firmware_target
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.integer import frozen, native, quantize
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, evaluate, learner, replay, strategies
from qlrjax.training.learner import EventData, Learner, predicting
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import LateClass

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
PROTOCOL = Protocol(
    minibatch=12,
    first_epochs=2,
    epochs=2,
    first_learning_rate=0.01,
    learning_rate=0.01,
    draws="portable",
)
apply_frozen = jax.jit(frozen.apply)


def client():
    """boards/learner.py, as it is exported."""
    path = resources.files("qlrjax.export.firmware") / "boards" / "learner.py"
    spec = importlib.util.spec_from_file_location("firmware_client", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Twin:
    """A random session: `learn` moves the JAX side, `firmware` is what to export at this point."""

    def __init__(
        self,
        cut=25,
        bits=6,
        protocol=PROTOCOL,
        slots=20,
        seed=5,
        size=(39, 47),
        classes=6,
        activation="relu6",
        convention="tensorflow",
        width=0.25,
    ):
        self.random = np.random.default_rng(cut + bits)
        self.network = mobilenet_v1(width, size, classes, convention, activation)
        self.cut, self.protocol, self.seed = Cut(self.network, cut), protocol, seed
        self.learner = Learner(self.cut, protocol, strategies.named(protocol, slots))
        self.latent_max = 255.0 if cut == 0 else 3.0
        self.stage = cases.random_stage(self.network, cut, self.random)
        parameters = cases.random_parameters(self.network, self.random)
        params, statistics = adaptive.init(self.cut, parameters)
        memory = replay.init(slots, self.cut.latent_shape, bits, self.latent_max)
        self.state = learner.init(self.learner, params, statistics, memory)

    def images(self, labels):
        """Noise around a mean that the class sets, so that there is something to learn."""
        means = np.random.default_rng(99).integers(40, 216, (self.network.classes, 1, 1, 3))
        noise = self.random.normal(0, 40, (len(labels), *self.network.in_hw, 3))
        return np.clip(means[labels] + noise, 0, 255).astype(np.uint8)

    def latents(self, images):
        if self.native is not None:
            return np.asarray(native.apply(self.native, jnp.asarray(images)))
        # Batches of one size compile once.
        padded = np.pad(images, ((0, -len(images) % 32), *((0, 0),) * 3))
        parts = padded.reshape(-1, 32, *padded.shape[1:])
        found = [np.asarray(apply_frozen(self.stage, jnp.asarray(part))) for part in parts]
        return np.concatenate(found)[: len(images)]

    @functools.cached_property
    def native(self):
        """The stage as sessions run it; the same bits, without XLA's compilation."""
        return native.prepare(self.stage)

    def learn(self, latents, labels):
        self.state, losses = learner.learn_event(
            self.learner,
            self.state,
            EventData(
                jnp.asarray(latents), labels.astype(np.int32), int(self.state.event), self.seed
            ),
        )
        return np.asarray(losses)

    def learn_class(self, latents, label):
        run, protocol = self.learner.strategy, self.protocol
        taught = Learner(self.cut, protocol, LateClass(run=run, weight_decay=protocol.weight_decay))
        labels = np.full(len(latents), label, np.int32)
        data = EventData(jnp.asarray(latents), labels, int(self.state.event), self.seed)
        self.state, losses = learner.learn_event(taught, self.state, data)
        return np.asarray(losses)

    def logits(self, images):
        return evaluate.logits(self.learner, self.state, self.latents(images))

    def firmware(self):
        return FirmwareSession(
            self.learner,
            self.stage,
            self.latent_max,
            self.state,
            self.seed,
        )

    def export(self, folder, target="host", event_max=32):
        return source.export(folder, self.firmware(), firmware_target.load(target), event_max)

    def arrays(self):
        """What the firmware's state should hold, by the names of qlr_learner's members."""
        return state_arrays(self.learner, self.state)


class GraphTwin(Twin):
    """A graph, of random weights unless some are given, quantized on noise."""

    def __init__(self, network, latent_layer, protocol=PROTOCOL, parameters=None):
        self.random = np.random.default_rng(7)
        self.network, self.protocol, self.seed = network, protocol, 3
        self.cut = Cut(
            network, latent_layer if latent_layer >= 0 else network.last + 1 + latent_layer
        )
        self.learner = Learner(self.cut, protocol, strategies.named(protocol, 18))
        parameters = weights.random(network, 4) if parameters is None else parameters
        images = self.random.integers(0, 256, (24, *network.in_shape)).astype(np.uint8)
        made = quantize.quantize(self.cut, parameters, images)
        self.stage, self.latent_max = made.stage, made.latent_max
        params, statistics = adaptive.init(self.cut, parameters)
        memory = replay.init(18, self.cut.latent_shape, 6, made.latent_max, made.latent_min)
        self.state = learner.init(self.learner, params, statistics, memory)

    def images(self, labels):
        means = np.random.default_rng(99).integers(40, 216, (self.network.classes, 1, 1, 1))
        noise = self.random.normal(0, 40, (len(labels), *self.network.in_shape))
        return np.clip(means[labels] + noise, 0, 255).astype(np.uint8)


def state_arrays(learner, state):
    """A JAX learner as the arrays of qlr_learner."""
    layers, normalised = learner.cut.weighted, learner.cut.normalised
    training, memory = state.training, state.memory
    head = predicting(learner, state)["head"]
    structure = jax.tree.structure(training.params)
    momentum = jax.tree.unflatten(structure, jax.tree.leaves(training.optimizer))
    joined = {
        key: np.concatenate(
            [
                np.zeros(0, np.float32),
                *(training.statistics[layer.name][key] for layer in normalised),
            ]
        )
        for key in ("mean", "std")
    }
    return {
        "event": int(state.event),
        "filled": int(memory.filled),
        "layers": firmware_tables.flat_layers(layers, training.params["layers"]),
        "mean": joined["mean"],
        "deviation": joined["std"],
        "center": np.zeros(0) if training.center is None else np.asarray(training.center),
        "momentum": firmware_tables.flat_layers(layers, momentum["layers"]),
        "head": np.asarray(head).ravel(),
        "head_momentum": np.asarray(momentum["head"]).ravel(),
        "past": np.asarray(learner.strategy.past(training.kept)),
        "labels": np.asarray(memory.labels),
        "replays": np.asarray(memory.data),
    }


def parse(state, replays, expected):
    """The dumped bytes of qlr_learner and qlr_replays, by member."""
    words = np.frombuffer(state, np.uint32, 2)
    found, at = {"event": int(words[0]), "filled": int(words[1])}, 8
    padded = ("layers", "mean", "deviation", "center", "momentum")
    for name in (*padded, "head", "head_momentum", "past"):
        count = expected[name].size
        found[name] = np.frombuffer(state, np.float32, count, at)
        at += 4 * (count + (name in padded))
    found["labels"] = np.frombuffer(state, np.int16, expected["labels"].size, at)
    found["replays"] = np.frombuffer(replays, np.uint8).reshape(expected["replays"].shape)
    return found


def build_host(folder, compiler="cc", flags=FLAGS):
    """Builds the host's program in its folder; the command to run it."""
    sources = [*sorted((folder / "src").glob("*.c")), *sorted((folder / "board").glob("*.c"))]
    program = folder / "qlr"
    words = [compiler, *flags, f"-I{folder}/src", *sources, "-lm", "-o", program]
    subprocess.run([str(word) for word in words], check=True)
    return [str(program)]


def make(folder, *words):
    """Builds an exported folder by its own Makefile."""
    subprocess.run(["make", "-s", "-C", folder, *words], check=True)


def connect(folder, target):
    """Starts a built folder's program, on this machine or in the target's emulator."""
    loaded = firmware_target.load(target)
    program = "build/qlr.elf" if loaded.board else "build/qlr"
    command = shlex.split(firmware_board.run_command(loaded, program))
    return client().Learner.run(command, cwd=folder)


def relative(one, other):
    """Norm of the difference by the norm of the reference; 0 where both are nothing."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    norm = np.linalg.norm(other)
    return float(np.linalg.norm(one - other) / norm) if norm else float(np.abs(one).max(initial=0))


FLOATS = ("layers", "mean", "deviation", "center", "head", "past", "momentum", "head_momentum")
INTEGERS = ("event", "filled", "labels", "replays")


def differences(board, expected):
    """Largest difference of the integers, and relative ones of the floats, by member.

    `expected` are the arrays that the board's state should hold, see `state_arrays`.
    """
    got = parse(*board.dump(), expected)
    off = [np.abs(np.asarray(got[name], np.int64) - expected[name]) for name in INTEGERS]
    floats = {name: relative(got[name], expected[name]) for name in FLOATS}
    return max(int(values.max(initial=0)) for values in off), floats


def run_events(board, twin, events):
    """Learns the same events on both sides; checks latents and losses on the way."""
    for labels in events:
        images = twin.images(labels)
        latents = twin.latents(images)
        for image, label in zip(images, labels, strict=True):
            assert board.observe(image.tobytes(), int(label)) == 0
        got = np.frombuffer(board.waiting(len(labels)), np.uint8)
        np.testing.assert_array_equal(got, latents.ravel())
        losses = twin.learn(latents, labels)
        status, steps, first, last = board.learn()
        assert (status, steps) == (0, len(losses))
        np.testing.assert_allclose([first, last], losses[[0, -1]], rtol=2e-4, atol=1e-5)


def learns_as_jax(twin, folder, sizes=(13, 13, 13)):
    """Several events: integers bit for bit, floats to 1e-4, the same predictions."""
    twin.export(folder)
    board = client().Learner.run(build_host(folder), cwd=folder)
    run_events(board, twin, [twin.random.integers(0, 5, size) for size in sizes])
    whole, floats = differences(board, twin.arrays())
    images = twin.images(np.arange(20) % 5)
    answers = [board.predict(image.tobytes()) for image in images]
    board.quit()
    assert whole == 0
    momenta = [floats.pop("momentum"), floats.pop("head_momentum")]
    assert max(floats.values()) < 1e-4, floats
    assert max(momenta) < 2e-3, momenta
    assert [np.argmax(row) for _, row in answers] == twin.logits(images).argmax(axis=1).tolist()
