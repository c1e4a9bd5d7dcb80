"""What a learning event of a graph costs: every pass, its data, its multiply-accumulates."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pulpsim.cost import platform
from pulpsim.event import blocked, event, lifetimes, memory
from pulpsim.event.setting import EventSetting
from support import hw_graph

from qlrjax import weights
from qlrjax.cli import hw, plan
from qlrjax.network import Cut, Network, resnet8
from qlrjax.network.build import Builder, square
from qlrjax.training import adaptive, renorm

VEGA = platform.load("vega")
IN_PLACE = ("weights", "momentum", "logits", "logit", "latent")


def graph(folded: bool = False, depthwise: int = 5) -> Network:
    """Residuals of both kinds, a maximum, a mean, 5x5 windows; ends in an add."""
    build, norm = Builder((32, 32, 3), "tensorflow"), {"batch_norm": not folded}
    build.append("stem", "conv", 16, window=square(7, 2), activation="relu", **norm)
    build.append("max", "max_pool", window=square(3, 2))
    build.append("a", "conv", 16, window=square(3, 1), activation="relu", **norm)
    build.append("b", "pointwise", 16, **norm)
    build.append("sum", "add", inputs=("max", "b"), activation="relu")
    build.append("wide", "pointwise", 32, activation="relu6", **norm)
    build.append("dw", "depthwise", window=square(depthwise, 1), activation="relu6", **norm)
    build.append("narrow", "pointwise", 16, **norm)
    build.append("plain", "add", inputs=("sum", "narrow"))
    build.append("mean", "average_pool", window=square(2, 2))
    build.append("c", "conv", 16, inputs=("mean",), window=square(3, 1), **norm)
    build.append("last", "add", inputs=("mean", "c"), activation="relu")
    return build.finish(5, bn_epsilon=1e-3, pixel_mean=(127.5,) * 3, pixel_std=(127.5,) * 3)


def steps(network, layer, statistics="minibatch", way=-1):
    case = EventSetting(network, layer, 20, images=11, minibatch=8, statistics=statistics)
    return case, blocked.minibatch(case, lambda ways: ways[way])


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("statistics", ["minibatch", "running"])
@pytest.mark.parametrize("way", [0, -1])
def test_nothing_is_read_before_it_is_written(statistics, folded, way):
    network = graph(folded)
    for layer in network.latent_layers:
        _, found = steps(network, layer, statistics, way)
        there = set()
        for step in found:
            reads, writes = lifetimes.moved(step)
            names = {one.name for one in reads if one.name.split()[0] not in IN_PLACE}
            assert names <= there, (layer, step.name, step.step)
            there |= {one.name for one in writes}


@pytest.mark.parametrize("network", [graph(), resnet8()], ids=["graph", "resnet8"])
def test_every_product_is_costed_three_times(network):
    """Forward, weights, and inputs where a gradient goes down; fours of columns are rounded up."""
    for layer in network.latent_layers:
        case, found = steps(network, layer)
        macs = sum(step.work.macs for step in found) / case.samples_per_minibatch
        above = network.adaptive(layer)
        cut = sum(row.macs for row in above if network.cut_name(layer) in row.inputs)
        expected = 3 * sum(row.macs for row in above) - cut
        assert macs == pytest.approx(expected, rel=2e-2 if layer == 0 else 1e-3)


def test_a_gradient_reaches_every_input_once():
    """A branch's gradient is added where the other's is: one pass writes each, the last masks."""
    _, found = steps(graph(), 1)
    written = [one.name for step in found for one in lifetimes.moved(step)[1]]
    by_name = {row.name: row.index for row in graph().layers}
    # `max` feeds `a` and `sum`: the add's own gradient is the first part, `a` writes the sum.
    assert written.count(f"dy {by_name['max']}") == 1
    # `narrow` has nothing but the add above it: its gradient is the add's, under its name.
    assert f"dy {by_name['narrow']}" not in written
    sums = [step.name for step in found if step.step == "norm sums"]
    assert sums == ["c", "narrow", "b"]


@pytest.mark.parametrize("maps", ["float32", "float16"])
def test_events_of_graphs_have_a_cost(maps):
    network = graph()
    layers = (2, network.last) if maps == "float32" else (9,)
    cases = [
        EventSetting(network, layer, 20, images=11, minibatch=7, maps=maps) for layer in layers
    ]
    results = event.event_costs(cases, VEGA, ratio=4.0)
    joules = [result.joules for result in results]
    assert joules == sorted(joules, reverse=True)
    for result in results:
        assert all(row.cost.cycles > 0 for row in result.passes)
    if maps == "float32":
        frozen = results[-1].select(step="frozen")
        assert {row.scheduled.name for row in frozen.passes} == {
            *(row.name for row in network.layers[:-1]),
            "pool",
        }


def test_what_stands_while_frozen_layers_run():
    """By hand, bytes: at `a` its input and output, and nothing else; at `b` the skip as well."""
    rows = graph().layers
    image, stem, small = 32 * 32 * 3, 16 * 16 * 16, 8 * 8 * 16
    assert memory.most_live(rows[:1]) == image + stem
    assert memory.most_live(rows[1:2]) == stem + small
    assert memory.most_live(rows[2:5]) == 3 * small
    assert memory.most_live(rows[5:9]) == small + 2 * 2 * small  # the skip beside the wide maps


def test_what_has_no_program_is_refused_by_name():
    with pytest.raises(ValueError, match=r"network, dw: the simulated chip has no a 7 x 7 depth"):
        EventSetting(graph(depthwise=7), 1)
    with pytest.raises(ValueError, match="layer-by-sample has no graphs such as network"):
        EventSetting(graph(), 1, schedule="layer-by-sample", statistics="running")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("event --network resnet8 --cut b2/add --replays 50 --images 10 --classes 5", "b2/add"),
        ("layer b2/conv2 --weights resnet8 --replays 50 --images 10 --csv", "p1_2x4"),
        ("compare vega stm32l4 --network ds_cnn --cut b3/sep --images 10 --csv", "event_s"),
    ],
)
def test_the_command_line_takes_graphs(capsys, words, said):
    assert hw.main(words.split()) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("event --network resnet8 --cut b2/conv1", "cannot be cut at"),
        ("event --network resnet8 --cut b2/add --latent-layer 8", "exclude each other"),
        ("event --network resnet8 --width 0.5", "--width is of mobilenet_v1"),
        ("layer nothing --network resnet8", "there is no layer nothing"),
    ],
)
def test_the_command_line_refuses_in_a_sentence(words, message):
    with pytest.raises(ValueError, match=message):
        hw.main(words.split())


@pytest.mark.parametrize(
    ("layer", "statistics", "folded", "way"),
    [
        (1, "minibatch", False, -1),
        pytest.param(1, "running", False, 0, marks=pytest.mark.long),
        pytest.param(2, "minibatch", True, 0, marks=pytest.mark.long),
    ],
)
def test_a_minibatch_pass_by_pass_is_plain_jax(layer, statistics, folded, way):
    """Every gradient comes out of the maps that the passes name, in the order of the passes."""
    network = graph(folded)
    cut = Cut(network, layer)
    _, found = steps(network, layer, statistics, way)
    params, running = adaptive.init(cut, weights.random(network, 3))
    rng = np.random.default_rng(layer)
    head = rng.normal(0, 0.2, params["head"].shape).astype(np.float32)
    params = {**params, "head": jnp.asarray(head)}
    latents = jnp.asarray(rng.uniform(0, 2, (8, *cut.latent_shape)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 5, 8), jnp.int32)
    limits = renorm.RenormLimits(jnp.float32(1.25), jnp.float32(0.5))
    limits = limits if statistics == "minibatch" else None

    def on_chip(params):
        chip = hw_graph.Chip(cut, params, running, latents, labels, limits)
        chip.run(found)
        return chip.gradients

    def loss(params):
        logits, _ = adaptive.forward(cut, params, running, latents, limits)
        return adaptive.cross_entropy(logits, labels, jnp.ones(8, bool))

    with jax.default_matmul_precision("highest"):
        made, expected = jax.jit(lambda given: (on_chip(given), jax.grad(loss)(given)))(params)
    theirs = {**expected["layers"], "linear": {"weight": expected["head"]}}
    for name, slopes in made.items():
        if name not in theirs:
            continue
        assert set(slopes) == set(theirs[name]), name
        for which, value in theirs[name].items():
            scale = float(jnp.abs(value).max())
            assert scale > 0, (name, which)
            np.testing.assert_allclose(
                slopes[which], value, rtol=1e-3, atol=2e-4 * scale, err_msg=f"{name} {which}"
            )


def test_a_plan_takes_a_cut_by_name(capsys):
    words = "--network ds_cnn --cut b3/sep --replays 50 --bits 8 --images 10 --classes 5 --json"
    assert plan.main(words.split()) == 0
    recommended = json.loads(capsys.readouterr().out)["recommended"]
    assert recommended["latent_layer"] == 9
    with pytest.raises(ValueError, match="--cut names layers of one network"):
        plan.main(["--network", "ds_cnn", "resnet8", "--cut", "b3/sep"])
