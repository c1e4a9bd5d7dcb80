"""Graphs in the firmware's host build: codes bit for bit, learning as JAX learns."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from support import firmware

from qlrjax import weights
from qlrjax.export.firmware import cells
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.integer import contract, frozen, quantize
from qlrjax.network import Cut
from qlrjax.network.build import Builder, Window, square
from qlrjax.training import adaptive, learner, replay, strategies
from qlrjax.training.learner import Learner

pytestmark = pytest.mark.long

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="needs a C compiler named cc"
)


def own():
    """Both poolings, an add of the stem, and inverted residuals above a linear bottleneck."""
    build = Builder((13, 11, 3), "tensorflow")
    build.append("stem", "conv", 6, window=Window((5, 3), 2), activation="relu")
    build.append("most", "max_pool", window=Window((3, 2), 1, ((1, 1), (0, 1))))
    build.append("inner", "conv", 6, window=square(3), activation="relu6")
    build.append("mean", "average_pool", window=Window((2, 3), 1, ((0, 1), (1, 1))))
    build.append("sum", "add", inputs=("most", "mean"), activation="relu")
    build.append("second", "add", inputs=("stem", "sum"))
    build.append("expand", "pointwise", 10, activation="relu6")
    build.append("dw", "depthwise", window=square(5, 2), activation="relu")
    build.append("project", "pointwise", 7)
    return build.finish(
        5, bn_epsilon=1e-3, pixel_mean=(120.0,) * 3, pixel_std=(60.0,) * 3, name="own"
    )


NETWORKS = {
    "own, three layers trained": (own(), 6),
    "own, a trained linear bottleneck": (own(), 8),
    "resnet8, head only": (weights.outline("resnet8:random:1", 5, (19, 14)), 12),
    "mobilenet_v2, head": (weights.outline("mobilenet_v2:random:1:0.35", 5, (33, 38)), -2),
    "ds_cnn, head only": (weights.outline("ds_cnn", 5), 9),
}


class GraphTwin(firmware.Twin):
    """A graph of random weights, quantized on noise."""

    def __init__(self, network, latent_layer, protocol=firmware.PROTOCOL):
        self.random = np.random.default_rng(7)
        self.network, self.protocol, self.seed = network, protocol, 3
        self.cut = Cut(
            network, latent_layer if latent_layer >= 0 else network.last + 1 + latent_layer
        )
        self.learner = Learner(self.cut, protocol, strategies.named(protocol, 18))
        parameters = weights.random(network, 4)
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


@needs_compiler
@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith("own") else pytest.param(name, marks=pytest.mark.long)
        for name in NETWORKS
    ],
)
def test_events_of_graphs_are_those_of_jax(name, tmp_path):
    twin = GraphTwin(*NETWORKS[name])
    twin.export(tmp_path)
    board = firmware.client().Learner.run(firmware.build_host(tmp_path), cwd=tmp_path)
    firmware.run_events(board, twin, [twin.random.integers(0, 5, size) for size in (17, 11, 13)])
    whole, floats = firmware.differences(board, twin.arrays())
    images = twin.images(np.arange(20) % 5)
    answers = [board.predict(image.tobytes()) for image in images]
    board.quit()
    assert whole == 0
    momenta = [floats.pop("momentum"), floats.pop("head_momentum")]
    assert max(floats.values()) < 1e-4, floats
    assert max(momenta) < 2e-3, momenta
    assert [np.argmax(row) for _, row in answers] == twin.logits(images).argmax(axis=1).tolist()


@pytest.mark.parametrize("name", NETWORKS)
def test_no_two_outputs_share_a_place_at_the_same_time(name):
    network, _ = NETWORKS[name]
    twin = GraphTwin(network, network.last)
    shapes = {frozen.IMAGE: network.in_shape}
    shapes |= dict(enumerate(contract.check_stage(twin.stage, network.in_shape)))
    found = cells.of_stage(twin.stage, shapes)
    size = {at: int(np.prod(shape)) for at, shape in shapes.items()}
    owner = np.full(found.bytes, -2)
    owner[: size[frozen.IMAGE]] = frozen.IMAGE
    for index, layer in enumerate(twin.stage):
        for source in frozen.sources(layer, index):  # what it takes is still there, whole
            start = found.places[source]
            assert (owner[start : start + size[source]] == source).all()
        mine = slice(found.places[index], found.places[index] + size[index])
        for source in frozen.sources(layer, index):
            assert not (owner[mine] == source).any()
        owner[mine] = index
    largest = max(
        size[index] + sum(size[at] for at in set(frozen.sources(layer, index)))
        for index, layer in enumerate(twin.stage)
    )
    assert largest <= found.bytes < 1.5 * largest + 64


@pytest.mark.parametrize(
    ("network", "latent_layer", "message"),
    [
        (own(), 1, "trains no max pool layers, such as most of own"),
        (weights.outline("resnet8:random:1", 5, 16), 4, "trains convolutions at the cut only"),
        (weights.outline("ds_cnn", 5), 3, "trains no layers without batch norm, such as b1/dw"),
    ],
)
def test_what_the_firmware_does_not_train_is_refused(network, latent_layer, message):
    protocol = firmware.PROTOCOL
    if network.name == "ds_cnn":
        protocol = dataclasses.replace(protocol, normalization="none")
    with pytest.raises(ValueError, match=message):
        GraphTwin(network, latent_layer, protocol).firmware()


def test_latents_below_zero_begin_at_their_least_value(tmp_path):
    twin = GraphTwin(own(), 9)
    assert twin.state.memory.latent_min < 0
    twin.export(tmp_path)
    text = (tmp_path / "src" / "qlr_config.h").read_text()
    (line,) = [line for line in text.splitlines() if "QLR_LATENT_MIN" in line]
    assert float(line.split()[-1].rstrip("f")) == pytest.approx(twin.state.memory.latent_min)
    assert isinstance(twin.firmware(), FirmwareSession)
    assert jnp.asarray(twin.latents(twin.images(np.array([0])))).dtype == jnp.uint8
