"""Speed of a learning event (8 mini-batches of 128 latents) beside two peers.

make bench

The first peer is the same step with products of whole images and XLA's own gradients of the
depthwise layers, which is what `floating` would be without care. The second is PyTorch's, where
torch is installed (it is none of the project's packages): forward, backward and SGD with batch norm
in place of batch renorm, which is a little less work. Read the ratios.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax import weights
from qlrjax.network import Cut, floating
from qlrjax.training import adaptive, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

SIZE, STEPS, CLASSES = 128, 8, 50
LAYERS = (25, 19)


def latents_and_labels(shape):
    random = np.random.default_rng(0)
    latents = np.abs(random.normal(size=(SIZE, *shape))).astype(np.float32)
    return latents, random.integers(0, CLASSES, SIZE).astype(np.int32)


def event(latent_layer):
    """A function that learns one event of STEPS mini-batches."""
    network, parameters = weights.load("builtin", CLASSES, 128)
    cut = Cut(network, latent_layer)
    protocol = Protocol(minibatch=SIZE, first_epochs=STEPS, epochs=STEPS)
    learns = Learner(cut, protocol, named(protocol, 0))
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
def test_ours(benchmark, latent_layer):
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
    torch = pytest.importorskip("torch", reason="PyTorch, the peer, is not installed")
    network, _ = weights.load("builtin", CLASSES, 128)
    modules = []
    for layer in network.adaptive(latent_layer)[:-1]:
        groups = layer.in_channels if layer.kind == "depthwise" else 1
        (top, bottom), (left, right) = layer.padding
        modules += [
            torch.nn.ZeroPad2d((left, right, top, bottom)),
            torch.nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                groups=groups,
                bias=False,
            ),
            torch.nn.BatchNorm2d(layer.out_channels),
            torch.nn.ReLU6(),
        ]
    modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    modules += [torch.nn.Linear(network.layers[-1].in_channels, CLASSES, bias=False)]
    model = torch.nn.Sequential(*modules).to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), 2e-3, momentum=0.9, weight_decay=5e-4)
    latents, labels = latents_and_labels(network.latent_shape(latent_layer))
    images = torch.from_numpy(latents.transpose(0, 3, 1, 2))
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels.astype(np.int64))

    def learn():
        for _ in range(STEPS):
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(model(images), targets).backward()
            sgd.step()

    learn()
    benchmark.group = f"{STEPS} mini-batches of {SIZE}, l = {latent_layer}"
    benchmark(learn)
