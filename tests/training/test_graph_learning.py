"""Learning above the cut of a graph: gradients against float64, sessions from end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle_graph

from qlrjax import session, weights
from qlrjax.native import description, load
from qlrjax.network import Cut
from qlrjax.network.build import Builder, Window, square
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training import adaptive, kernels, renorm, replay
from qlrjax.training.protocol import Protocol
from qlrjax.training.rates import check_normalization


def residual(batch_norm):
    """Both poolings, adds, a strided shortcut, a linear bottleneck, depthwise layers.

    Of the depthwise layers one reads what is not normalised, one a normalised layer that another
    reads as well, and one a normalised layer of its own.
    """
    build = Builder((13, 11, 3), "tensorflow")
    norm = {"batch_norm": batch_norm}
    build.append("stem", "conv", 6, window=Window((5, 3), 2), activation="relu", **norm)
    build.append("maximum", "max_pool", window=Window((3, 2), 1, ((1, 1), (0, 1))))
    build.append("a/dw", "depthwise", window=square(5), activation="relu6", **norm)
    build.append("a/project", "pointwise", 6, **norm)
    build.append("a/add", "add", inputs=("maximum", "a/project"))
    build.append("b/conv", "conv", 8, window=square(3, 2), activation="relu", **norm)
    build.append("b/short", "conv", 8, inputs=("a/add",), window=square(1, 2), batch_norm=False)
    build.append("b/add", "add", inputs=("b/conv", "b/short"), activation="relu")
    build.append("c/conv", "pointwise", 7, activation="relu6", **norm)
    build.append("c/dw", "depthwise", window=Window((3, 2), 1, ((1, 1), (0, 1))), **norm)
    build.append("c/add", "add", inputs=("c/conv", "c/dw"))
    build.append("d/conv", "pointwise", 19, activation="relu", **norm)
    build.append("d/dw", "depthwise", window=square(3), activation="relu6", **norm)
    build.append("mean", "average_pool", window=Window((2, 2), 1, ((0, 1), (0, 0))))
    network = build.finish(
        4, bn_epsilon=1e-3, pixel_mean=(120.0,) * 3, pixel_std=(60.0,) * 3, name="residual"
    )
    return network, weights.random(network, 11)


LIMITS = {"renorm": (1.3, 0.2), "batch": (1.0, 0.0), "running": None}


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("normalization", LIMITS)
@pytest.mark.parametrize("latent_layer", [pytest.param(1, marks=pytest.mark.long), 2, 5])
def test_gradients_are_those_of_float64(batch_norm, normalization, latent_layer, passes):
    network, parameters = residual(batch_norm)
    if not batch_norm and normalization != "running":
        return  # the same program
    cut, random = Cut(network, latent_layer), np.random.default_rng(latent_layer)
    params, statistics = adaptive.init(cut, parameters)
    params["head"] = jnp.asarray(random.normal(0, 0.3, params["head"].shape), jnp.float32)
    latents = jnp.asarray(random.uniform(-1, 3, (6, *cut.latent_shape)), jnp.float32)
    labels, pair = random.integers(0, 4, 6).astype(np.int32), LIMITS[normalization]
    limits = renorm.RenormLimits(*map(jnp.float32, pair)) if pair else None

    def loss(params, latents):
        logits, _ = adaptive.forward(cut, params, statistics, latents, limits, passes=passes)
        return adaptive.cross_entropy(logits, jnp.asarray(labels), jnp.ones(6, bool))

    value, (by_params, by_latents) = jax.value_and_grad(loss, argnums=(0, 1))(params, latents)
    wanted, held = oracle_graph.loss(cut, params, statistics, latents, labels, pair)
    assert value == pytest.approx(wanted, rel=1e-5)
    paths = jax.tree_util.tree_leaves_with_path({"params": params, "latents": latents})
    gradients = jax.tree.leaves({"params": by_params, "latents": by_latents})
    compared = []
    for at, ((_, leaf), gradient) in enumerate(zip(paths, gradients, strict=True)):

        def call(array, at=at):
            leaves = [np.asarray(leaf, np.float64) for _, leaf in paths]
            leaves[at] = array
            tree = jax.tree.structure({"params": params, "latents": latents})
            moved = jax.tree.unflatten(tree, leaves)
            return oracle_graph.loss(
                cut, moved["params"], statistics, moved["latents"], labels, pair, held
            )[0]

        for flat in random.integers(0, leaf.size, 4):
            place = np.unravel_index(flat, leaf.shape)
            exact = oracle_graph.slope(call, np.asarray(leaf, np.float64), place)
            compared.append((float(gradient[place]), exact))
    got, exact = np.array(compared).T
    assert np.abs(got - exact).max() < 2e-5 * max(np.abs(exact).max(), 1)
    assert np.abs(exact).max() > 1e-3


def test_only_a_depthwise_layer_that_alone_reads_a_normalised_one_is_chained_to_it():
    if load(kernels.LIBRARY) is None:
        pytest.skip(description(kernels.LIBRARY))
    network, parameters = residual(True)
    cut = Cut(network, 2)
    params, statistics = adaptive.init(cut, parameters)
    limits = renorm.RenormLimits(jnp.float32(1.3), jnp.float32(0.2))
    latents = jnp.ones((6, *cut.latent_shape))

    def calls(passes):
        def loss(params):
            return adaptive.forward(cut, params, statistics, latents, limits, passes=passes)[
                0
            ].sum()

        program = jax.jit(jax.grad(loss)).lower(params).as_text()
        return [program.count(f"@{name}(") for name in kernels.LIBRARY.targets[2:4]]

    assert calls(adaptive.Passes(native=True)) == [2, 1]  # a/dw and c/dw by themselves, d/dw
    assert calls(adaptive.Passes("float16", native=True)) == [3, 0]
    assert calls(adaptive.Passes()) == [0, 0]


def test_normalisation_has_to_be_what_the_network_has():
    folded, normal = residual(False)[0], residual(True)[0]
    check_normalization(Protocol(normalization="none"), Cut(folded, 2))
    check_normalization(Protocol(), Cut(normal, 2))
    check_normalization(Protocol(), Cut(folded, folded.last))  # nothing but the head is trained
    with pytest.raises(ValueError, match=r"no batch norm .*normalization none"):
        check_normalization(Protocol(), Cut(folded, 2))
    with pytest.raises(ValueError, match="have batch norm: choose"):
        check_normalization(Protocol(normalization="none"), Cut(normal, 2))


@pytest.mark.parametrize("bits", [32, 8, 6, 3])
def test_replays_of_latents_below_zero_come_back(bits):
    random, low, span = np.random.default_rng(3), -1.7, 4.2
    memory = replay.init(9, (2, 3, 5), bits, span, low)
    codes = random.integers(0, 256, (7, 2, 3, 5)).astype(np.uint8)
    memory = dataclasses.replace(
        memory, data=memory.data.at[:7].set(replay.encode(memory, jnp.asarray(codes)))
    )
    real = low + codes * (span / 255)
    step = 0.0 if bits == 32 else span / (2**bits - 1)
    read = replay.read(memory, jnp.arange(7, dtype=jnp.int32))
    assert np.abs(np.asarray(read) - real).max() <= step / 2 + 1e-5
    floats = replay.encode(memory, jnp.asarray(real.astype(np.float32)))
    again = replay.read(
        dataclasses.replace(memory, data=memory.data.at[:7].set(floats)),
        jnp.arange(7, dtype=jnp.int32),
    )
    assert np.abs(np.asarray(again) - real).max() <= step / 2 + 1e-5


@pytest.mark.long
def test_a_session_learns_on_a_graph():
    """ResNet8 cut after its second residual block: one more add and shortcut are trained."""
    settings = Settings(
        weights="resnet8",
        latent_layer=8,
        resolution=32,
        replays=64,
        protocol=Protocol(minibatch=16),
        stream=StreamSettings(data="synthetic:4x4x8"),
        evaluate_every=10,
    )
    made = session.prepare(settings)
    assert made.cut.latent_name == "b1/add"
    state, records = session.start(made), []
    for learned, record in session.learn_all(made, state):
        state = learned
        records.append(record)
    assert records[-1]["accuracy"] > 0.5  # four classes: chance is 0.25
    assert records[-1]["replays_filled"] == 64
    before = weights.load_builtin("resnet8")
    for name in ("b2/conv1", "b2/conv2", "b2/shortcut"):
        after = np.asarray(state.learner.training.params["layers"][name]["weight"])
        assert np.abs(after - before[name]["weight"]).max() > 1e-5
