"""A training step beside PyTorch's and beside a bare product, a row for every latent layer.

A step is a mini-batch of 128 float32 latents: forward, backward, SGD with momentum. Ours is a whole
learning event of some mini-batches with batch renorm; PyTorch's is as many steps, channels last,
with batch norm in its place, which is a little less work. Where torch is not installed (it is none
of the project's packages), its columns are empty.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from bench.turns import CORES, figure, interleaved, markdown, ratio, rounds, times_text

from qlrjax import weights
from qlrjax.network import Cut
from qlrjax.training import adaptive, kernels, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

LAYERS, SIZE, CLASSES, SIDE = (19, 20, 23, 25, 27), 128, 50, 128
# Of an event; what an event costs besides is shared, so there are about as many as in a real one
# (75 new photos and 500 replays make 16).
STEPS = {19: 8, 20: 8, 23: 16, 25: 16, 27: 100}
PRODUCT = 1536  # rows, columns and depth of the bare product
HEADER = ("l", "GMAC a step", "ms a step", "GMAC/s", "share of the product's", "/ PyTorch")


def measure() -> list[dict]:
    """A row for every latent layer; seconds are medians."""
    rows = []
    for layer in LAYERS:
        steps = STEPS[layer]
        torch_step = pytorch(layer, steps)
        calls = [event(Case(layer, steps)), product(PRODUCT), *([torch_step] if torch_step else [])]
        seconds = interleaved(calls, rounds(9), seconds=45)
        macs = macs_of_step(layer)
        rates = steps * macs / seconds[:, 0], PRODUCT**3 / seconds[:, 1]
        rows.append(
            {
                "layer": layer,
                "steps": steps,
                "rounds": len(seconds),
                "gmac": figure(macs / 1e9),
                "ms": figure(1e3 * float(np.median(seconds[:, 0])) / steps),
                "gmac_per_second": figure(float(np.median(rates[0])) / 1e9),
                "product_gmac_per_second": figure(float(np.median(rates[1])) / 1e9),
                "share of product": figure(float(np.median(rates[0] / rates[1]))),
                "/ pytorch": ratio(seconds, 2) if torch_step else None,
            }
        )
    return rows


def macs_of_step(latent_layer: int) -> int:
    """Three products a layer (forward, weights, inputs), of which the first needs no third."""
    network, _ = weights.load("builtin", CLASSES, SIDE)
    layers = Cut(network, latent_layer).above
    return SIZE * (3 * sum(layer.macs for layer in layers) - layers[0].macs)


def latents_and_labels(shape: tuple[int, ...], size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Random ones."""
    random = np.random.default_rng(0)
    latents = np.abs(random.normal(size=(size, *shape))).astype(np.float32)
    return latents, random.integers(0, CLASSES, size).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Case:
    """A learning event; mini-batches are of `new` latents, or of new and replayed ones."""

    latent_layer: int
    epochs: int = 1
    minibatch: int = SIZE
    new: int = SIZE
    replays: int = 0
    side: int = SIDE
    classes: int = CLASSES


def event(case: Case) -> Callable[[], None]:
    """Learns an event, going on from what it learned before; its memory is full."""
    network, parameters = weights.load("builtin", case.classes, case.side)
    cut = Cut(network, case.latent_layer)
    epochs = case.epochs
    protocol = Protocol(minibatch=case.minibatch, first_epochs=epochs, epochs=epochs)
    learns = Learner(cut, protocol, named(protocol, case.replays), native=kernels.serve(cut))
    latents, labels = latents_and_labels(cut.latent_shape, case.new)
    number = 1 if case.replays else 0  # only a first event has no replays
    data = EventData(jnp.asarray(latents), labels % case.classes, number, 0)
    memory = replay.init(case.replays, cut.latent_shape, 8 if case.replays else 32, 6.0)
    slots = jnp.arange(case.replays, dtype=jnp.int32)
    filled = jnp.asarray(case.replays, jnp.int32)
    memory = memory.replace(labels=slots % case.classes, filled=filled)
    state = learner.init(learns, *adaptive.init(cut, parameters), memory)

    def learn() -> None:
        nonlocal state
        state, losses = learner.learn_event(learns, state, data)
        jax.block_until_ready((state, losses))

    return learn


def product(size: int) -> Callable[[], jax.Array]:
    """A bare float32 product of square matrices."""
    one = jnp.asarray(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    multiply = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(multiply(one, one))


def pytorch(latent_layer: int, steps: int) -> Callable[[], None] | None:
    """PyTorch's steps on the same layers, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(CORES)
    network, _ = weights.load("builtin", CLASSES, SIDE)
    modules: list = []
    for layer in network.adaptive(latent_layer)[:-1]:
        groups = layer.in_channels if layer.kind == "depthwise" else 1
        (top, bottom), (left, right) = layer.padding
        if top or bottom or left or right:
            modules.append(torch.nn.ZeroPad2d((left, right, top, bottom)))
        channels = (layer.in_channels, layer.out_channels)
        convolution = torch.nn.Conv2d(
            *channels, layer.kernel, layer.stride, groups=groups, bias=False
        )
        modules += [convolution, torch.nn.BatchNorm2d(layer.out_channels), torch.nn.ReLU6()]
    modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    modules += [torch.nn.Linear(network.layers[-1].in_channels, CLASSES, bias=False)]
    model = torch.nn.Sequential(*modules).to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), 2e-3, momentum=0.9, weight_decay=5e-4)
    latents, labels = latents_and_labels(network.latent_shape(latent_layer))
    images = torch.from_numpy(latents.transpose(0, 3, 1, 2))
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels.astype(np.int64))

    def learn() -> None:
        for _ in range(steps):
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(model(images), targets).backward()
            sgd.step()

    return learn


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    return markdown(
        HEADER,
        [
            [
                row["layer"],
                f"{row['gmac']:.2f}",
                f"{row['ms']:.1f}",
                f"{row['gmac_per_second']:.0f}",
                f"{row['share of product']:.2f}",
                times_text(row["/ pytorch"]),
            ]
            for row in rows
        ],
    )
