"""Speed of a learning event (8 mini-batches of 128 latents) beside two peers.

make bench

Ours with the C kernels and in pure JAX. The first peer is the same step with products of whole
images and XLA's own gradients of the depthwise layers, which is what `floating` would be without
care. The second is PyTorch's, where torch is installed (it is none of the project's packages):
forward, backward and SGD with batch norm in place of batch renorm, which is a little less work.
Read the ratios.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench import training_rows

from qlrjax import weights
from qlrjax.native import description, load
from qlrjax.network import Cut, floating
from qlrjax.training import adaptive, kernels, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

SIZE, STEPS, CLASSES = 128, 8, 50
LAYERS = (25, 19)


def latents_and_labels(shape):
    random = np.random.default_rng(0)
    latents = np.abs(random.normal(size=(SIZE, *shape))).astype(np.float32)
    return latents, random.integers(0, CLASSES, SIZE).astype(np.int32)


def event(latent_layer, native=False):
    """A function that learns one event of STEPS mini-batches."""
    network, parameters = weights.load("builtin", CLASSES, 128)
    cut = Cut(network, latent_layer)
    protocol = Protocol(minibatch=SIZE, first_epochs=STEPS, epochs=STEPS)
    learns = Learner(cut, protocol, named(protocol, 0), native=native)
    latents, labels = latents_and_labels(cut.latent_shape)
    data = EventData(jnp.asarray(latents), labels, 0, 0)

    def learn():
        memory = replay.init(0, cut.latent_shape, 32)
        state = learner.init(learns, *adaptive.init(cut, parameters), memory)
        _, losses = learner.learn_event(learns, state, data)
        assert len(losses) == STEPS
        return jax.block_until_ready(losses)

    jax.clear_caches()  # the peer below changes what is compiled
    learn()
    return learn


@pytest.mark.parametrize("latent_layer", LAYERS)
def test_kernels(benchmark, latent_layer):
    if load(kernels.LIBRARY) is None:
        pytest.skip(description(kernels.LIBRARY))
    benchmark.group = f"{STEPS} mini-batches of {SIZE}, l = {latent_layer}"
    benchmark(event(latent_layer, native=True))


@pytest.mark.parametrize("latent_layer", LAYERS)
def test_pure_jax(benchmark, latent_layer):
    benchmark.group = f"{STEPS} mini-batches of {SIZE}, l = {latent_layer}"
    benchmark(event(latent_layer))


@pytest.mark.parametrize("latent_layer", LAYERS)
def test_without_hand_gradients(benchmark, latent_layer, monkeypatch):
    def linear_part(layer, weight, x):
        if layer.kind != "depthwise":
            return x @ weight
        taps = floating._taps(layer, x)
        rows = weight.reshape(len(taps), layer.out_channels)
        return sum(tap * row[None, None, None] for tap, row in zip(taps, rows, strict=True))

    monkeypatch.setattr(floating, "linear_part", linear_part)
    benchmark.group = f"{STEPS} mini-batches of {SIZE}, l = {latent_layer}"
    benchmark(event(latent_layer))


@pytest.mark.parametrize("latent_layer", LAYERS)
def test_pytorch(benchmark, latent_layer):
    learn = training_rows.pytorch(latent_layer, STEPS)
    if learn is None:
        pytest.skip("PyTorch, the peer, is not installed")
    learn()
    benchmark.group = f"{STEPS} mini-batches of {SIZE}, l = {latent_layer}"
    benchmark(learn)
