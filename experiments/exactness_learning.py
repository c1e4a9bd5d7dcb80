"""Rows of the table of exactness about learning: the exported C program, loss and gradients."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from exactness_row import Row, largest, relative
from support import (
    firmware,  # pyright: ignore[reportMissingImports]
    oracle_float,  # pyright: ignore[reportMissingImports]
)

from qlrjax import weights
from qlrjax.export.firmware import source as firmware_source
from qlrjax.export.firmware import tables
from qlrjax.export.firmware import target as firmware_target
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.integer import frozen, latent_codes, quantize
from qlrjax.network import Cut
from qlrjax.training import adaptive, learner, renorm, replay, strategies
from qlrjax.training.learner import Learner
from qlrjax.training.protocol import Protocol


def c_program(images: np.ndarray) -> Iterator[Row]:
    """The exported firmware's host build: latents, packed replays, and one step's gradients."""
    if shutil.which("cc") is None:
        print("no C compiler named cc: the rows of the C program are left out")
        return
    network, parameters = weights.load("builtin", 10, 128)
    cut, random = Cut(network, 23), np.random.default_rng(0)
    stage = quantize.quantize(cut, parameters, images[:64])
    params, statistics = adaptive.init(cut, parameters)
    params["head"] = jnp.asarray(random.normal(0, 0.02, params["head"].shape), jnp.float32)
    labels = random.integers(0, 10, 8).astype(np.int32)
    latents = jax.jit(frozen.apply)(stage.stage, jnp.asarray(images[:8]))
    memory = replay.init(16, cut.latent_shape, 7, stage.latent_max)
    protocol = Protocol(minibatch=8, first_epochs=1, classifier="plain", draws="portable")
    learned = Learner(cut, protocol, strategies.named(protocol, 16))
    state = learner.init(learned, params, statistics, memory)
    session = FirmwareSession(
        learner=learned, stage=stage.stage, latent_max=stage.latent_max, state=state, seed=0
    )
    data = learner.EventData(latents, labels, number=0, seed=0)
    before = jax.tree.map(np.asarray, (params, statistics))
    after, _ = learner.learn_event(learned, jax.tree.map(jnp.copy, state), data)
    wanted = firmware.state_arrays(learned, after)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        firmware_source.export(folder, session, firmware_target.load("host"), 8)
        command = firmware.build_host(folder)
        board = firmware.client().Learner.run(command, cwd=folder)
        for image, label in zip(images[:8], labels, strict=True):
            board.observe(image.tobytes(), int(label))
        codes = np.frombuffer(board.waiting(8), np.uint8)
        board.learn()
        state_bytes, replay_bytes = board.dump()
        got = firmware.parse(state_bytes, replay_bytes, wanted)
        board.quit()
    yield Row(
        "C: frozen stage to layer 23, width 1",
        "frozen.apply",
        "8 images",
        largest(codes, np.asarray(latents).ravel()),
    )
    yield Row(
        "C: packed replays and labels, 7 bits",
        "learn_event",
        "8 latents",
        max(largest(got[name], wanted[name]) for name in ("replays", "labels")),
    )
    params, statistics = before
    batch = np.asarray(latent_codes.dequantize(latents, stage.latent_max, 8))
    done = oracle_float.forward(cut, params, statistics, batch, labels, (1.0, 0.0))
    gradients, _ = oracle_float.backward(done, params, labels)
    decayed = oracle_float.tree_map(lambda p, g: g + protocol.weight_decay * p, params, gradients)
    layers = tables.flat_layers(cut.normalised, decayed["layers"])
    expected = np.concatenate([layers, *decayed["head"]])
    momentum = np.concatenate([got["momentum"], got["head_momentum"]])
    what, cases_ = "C: gradients of a training step, l = 23", "8 latents, 1.6 million parameters"
    yield Row(what, "float64", cases_, relative(momentum, expected), "float")


def float_stage() -> Iterator[Row]:
    """Loss and gradients of the adaptive stage at the cuts devices train, ImageNet weights."""
    for layer in (20, 23, 27):
        network, parameters = weights.load("builtin", 50, 128)
        cut = Cut(network, layer)
        params, statistics = adaptive.init(cut, parameters)
        random = np.random.default_rng(layer)
        params["head"] = jnp.asarray(random.normal(0, 0.02, params["head"].shape), jnp.float32)
        latents = np.maximum(random.normal(0, 1, (8, *cut.latent_shape)), 0)
        latents, labels = latents.astype(np.float32), random.integers(0, 50, 8).astype(np.int32)
        limits = renorm.RenormLimits(jnp.asarray(1.25, jnp.float32), jnp.asarray(0.5, jnp.float32))

        def loss_of(params, x, cut=cut, statistics=statistics, labels=labels, limits=limits):
            logits, moments = adaptive.forward(cut, params, statistics, x, limits)
            ones = jnp.ones(len(labels), bool)
            return adaptive.cross_entropy(logits, jnp.asarray(labels), ones), (logits, moments)

        run = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True))
        (loss, (logits, _)), (gradients, dx) = run(params, jnp.asarray(latents))
        done = oracle_float.forward(cut, params, statistics, latents, labels, (1.25, 0.5))
        expected, inputs = oracle_float.backward(done, params, labels)
        worst = max(relative(loss, done.loss), relative(logits, done.logits))
        yield Row(f"adaptive stage forward, l = {layer}", "float64", "8 latents", worst, "float")
        pairs = list(zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True))
        if not cut.is_pooled:
            pairs.append((dx, inputs[cut.above[0].name]))
        worst = max(relative(*pair) for pair in pairs)
        what = f"every gradient, l = {layer}, tensors: {len(pairs)}"
        yield Row(what, "float64", "8 latents", worst, "float")
