"""Graphs in the firmware's host build: codes bit for bit, learning as JAX learns."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from support import firmware, graphs

from qlrjax import weights
from qlrjax.export.firmware import cells
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.integer import contract, frozen

pytestmark = pytest.mark.long

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="needs a C compiler named cc"
)


# A head alone diverges at the others' rate (a loss of 44), and rounding with it.
SLOWLY = dataclasses.replace(firmware.PROTOCOL, first_learning_rate=1e-3, learning_rate=1e-3)
NETWORKS = {
    "own, three layers trained": (graphs.own(), 6),
    "own, a trained linear bottleneck": (graphs.own(), 8),
    "resnet8, head only": (weights.outline("resnet8:random:1", 5, (19, 14)), 12),
    "mobilenet_v2, head": (weights.outline("mobilenet_v2:random:1:0.35", 5, (33, 38)), -2),
    "ds_cnn, head only": (weights.outline("ds_cnn", 5), 9, SLOWLY),
}


@needs_compiler
@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith("own") else pytest.param(name, marks=pytest.mark.long)
        for name in NETWORKS
    ],
)
def test_events_of_graphs_are_those_of_jax(name, tmp_path):
    firmware.learns_as_jax(firmware.GraphTwin(*NETWORKS[name]), tmp_path, (17, 11, 13))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_two_outputs_share_a_place_at_the_same_time(name):
    network, *_ = NETWORKS[name]
    twin = firmware.GraphTwin(network, network.last)
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


def test_latents_below_zero_begin_at_their_least_value(tmp_path):
    twin = firmware.GraphTwin(graphs.own(), 9)
    assert twin.state.memory.latent_min < 0
    twin.export(tmp_path)
    text = (tmp_path / "src" / "qlr_config.h").read_text()
    (line,) = [line for line in text.splitlines() if "QLR_LATENT_MIN" in line]
    assert float(line.split()[-1].rstrip("f")) == pytest.approx(twin.state.memory.latent_min)
    assert isinstance(twin.firmware(), FirmwareSession)
    assert jnp.asarray(twin.latents(twin.images(np.array([0])))).dtype == jnp.uint8
