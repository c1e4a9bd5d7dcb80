"""Graphs above the cut, learned by the firmware's host build and by JAX."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import firmware, graphs

from qlrjax import weights
from qlrjax.export.firmware import graph, passes, planner
from qlrjax.export.firmware import shape as firmware_shape
from qlrjax.export.firmware.planner import Choice
from qlrjax.network import Cut
from qlrjax.network.build import Builder, Window, square

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler named cc")


def change(**settings):
    return dataclasses.replace(firmware.PROTOCOL, **settings)


RUNNING, BATCH = change(normalization="running"), change(normalization="batch")
NONE = change(normalization="none")
# Random weights diverge at 0.01 with running statistics, and rounding with them.
SLOWLY = change(normalization="running", first_learning_rate=1e-5, learning_rate=1e-5)
SHORT = change(minibatch=6, epochs=1, first_epochs=1)
RESNET8 = weights.outline("resnet8:random:1", 5, (19, 14))
SESSIONS = {
    "poolings, adds, 5x5 depthwise, running": lambda: (graphs.own(), 1, RUNNING),
    "poolings, adds, 5x5 depthwise, batch norm": lambda: (graphs.own(), 1, BATCH),
    "resnet8 to b1/add": lambda: (RESNET8, 8),
    "resnet8 to b0/add, running": lambda: (RESNET8, 4, SLOWLY),
    "resnet8 whole": lambda: (RESNET8, 0, SHORT),
    "mobilenet_v2 to b13/project": lambda: (
        weights.outline("mobilenet_v2:random:1:0.35", 5, (33, 38)),
        50,
    ),
    "efficientnet_lite0 to b14/add": lambda: (
        weights.outline("efficientnet_lite0", 5, (33, 33)),
        54,
        SHORT,
    ),
    "ds_cnn without batch norm": lambda: (weights.outline("ds_cnn", 5), 7, NONE),
}
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def own():
    """Poolings, adds, a bias, batch renorm, a strided 5x5 depthwise layer."""
    return firmware.GraphTwin(graphs.own(), 1)


@needs_compiler
def test_events_of_a_graph_are_those_of_jax(own, tmp_path):
    firmware.learns_as_jax(own, tmp_path)


@needs_compiler
@pytest.mark.long
@pytest.mark.parametrize("name", SESSIONS)
def test_events_are_those_of_jax(name, tmp_path):
    firmware.learns_as_jax(firmware.GraphTwin(*SESSIONS[name]()), tmp_path)


@needs_compiler
@pytest.mark.long
def test_a_file_with_folded_batch_norm_learns_as_in_jax(tmp_path):
    """The network of docs/networks.md, above its pooling."""
    pytest.importorskip("onnx", reason="needs the extra qlrjax[onnx]")
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
    (script,) = re.findall(r'```python title="mynet.py"\n(.*?)```', page, re.DOTALL)
    exec(script.replace('"mynet.onnx"', repr(str(tmp_path / "mynet.onnx"))), {})
    network, parameters = weights.load(str(tmp_path / "mynet.onnx"), 5, 32)
    cut = network.latent_layer_after("pool")
    firmware.learns_as_jax(firmware.GraphTwin(network, cut, NONE, parameters), tmp_path)


@pytest.mark.long
@needs_compiler
def test_whatever_is_kept_the_same_is_learned(own, tmp_path, monkeypatch):
    """Slices, outputs that are computed again, and gradients that wait for the next pass or not."""
    count = len(own.cut.above) - 1
    labels = [own.random.integers(0, 5, size) for size in (13, 11)]
    events = [(own.images(row), row) for row in labels]
    found = []
    for samples, kept, gradient in (
        (8, (True,) * count, True),
        (4, (False,) * count, True),
        (1, tuple(at < 4 for at in range(count)), False),
        (2, tuple(at >= 3 for at in range(count)), True),
        (8, tuple(at >= 3 for at in range(count)), False),
    ):
        choice = Choice(samples, kept, gradient, True)
        monkeypatch.setattr(planner, "_choices", lambda shape, only=choice: iter([only]))
        folder = tmp_path / str(len(found))
        assert own.export(folder).choice == choice
        program = firmware.build_host(folder, flags=(*firmware.FLAGS[:1], "-O1", *SANITIZERS))
        board = firmware.client().Learner.run(program, cwd=folder)
        for images, row in events:
            for image, label in zip(images, row, strict=True):
                assert board.observe(image.tobytes(), int(label)) == 0
            assert board.learn()[0] == 0
        found.append(firmware.parse(*board.dump(), own.arrays()))
        board.quit()
    for other in found[1:]:
        for name in ("layers", "mean", "deviation", "momentum", "head", "head_momentum"):
            assert firmware.relative(other[name], found[0][name]) < 2e-5, name
        np.testing.assert_array_equal(other["labels"], found[0]["labels"])
        np.testing.assert_array_equal(other["replays"], found[0]["replays"])


def test_a_maximum_of_nothing_but_padding_is_refused():
    build = Builder((9, 9, 3), "tensorflow")
    build.append("stem", "conv", 4, window=square(3), activation="relu")
    build.append("most", "max_pool", window=Window((2, 2), 1, ((2, 0), (0, 0))))
    values = {"bn_epsilon": 1e-3, "pixel_mean": (0.0,) * 3, "pixel_std": (255.0,) * 3}
    network = build.finish(5, **values)
    with pytest.raises(ValueError, match="layer most of network pads a whole window"):
        firmware.GraphTwin(network, 1, NONE).firmware()


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("own", graphs.own()),
        ("resnet8", RESNET8),
        ("mobilenet_v2", weights.outline("mobilenet_v2:random:1:0.35", 5, 32)),
    ],
)
def test_gradients_lie_apart_while_they_are_needed(name, network):
    """A walk back at every cut: what a layer reads is whole, and set before it is added to."""
    for latent_layer in network.latent_layers[:-1]:
        layers = Cut(network, latent_layer).above[:-1]
        links, placed = graph.of_layers(layers), graph.gradients(layers)
        size = [layer.out_elements for layer in layers]
        owner = np.full(placed.bytes, -1)
        first = placed.places.get(len(layers) - 1, 0)
        owner[first : first + size[-1]] = len(layers) - 1
        for at in reversed(range(len(layers))):
            if not links.learns[at]:
                continue
            mine = slice(placed.places[at], placed.places[at] + size[at])
            assert (owner[mine] == at).all(), (name, latent_layer, layers[at].name)
            for source in links.sources[at]:
                if source == graph.LATENT or not links.learns[source]:
                    continue
                start = placed.places[source]
                if links.until[source] == at:
                    owner[start : start + size[source]] = source
                assert (owner[start : start + size[source]] == source).all()
            assert (owner[mine] == at).all()


def test_work_is_counted_once_where_all_is_kept_and_more_where_nothing_is(own):
    """Forward, weight gradient, input gradient of all but what takes the latent; the head once."""
    shape = firmware_shape.of_session(own.firmware(), 16)
    layers = shape.layers
    count = len(layers)
    # Gradients end at "inner": the pooling below it has nothing to learn.
    least = sum(3 * layer.macs for layer in layers) - layers[1].macs + 3 * shape.head
    assert [layer.name for layer in layers[:2]] == ["most", "inner"]
    everything = passes.step_macs(shape, (True,) * count, True)
    assert everything == shape.minibatch * least
    assert passes.step_macs(shape, (False,) * count, False) > 2 * everything
