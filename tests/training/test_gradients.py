"""The FP32 stage against float64 written by hand, and that against finite differences.

Tolerances are relative to the norm of each tensor. 1e-5 holds for every layer on its own, for the
whole stage at the cuts that are trained on devices, and for a short network trained from the image
on. It does not hold for gradients at the bottom of the full network (l = 0): 27 normalised layers
amplify FP32 rounding there, and up to 1.5e-4 was seen (test_firmware_step asserts 1e-3 there).
"""

import dataclasses
import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from support import cases, examples
from support import oracle_float as oracle
from support.near import close, trees_close

from qlrjax.native import load
from qlrjax.network import Cut, Layer, floating, mobilenet_v1
from qlrjax.training import adaptive, kernels, learner, renorm, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

LIMITS = (1.25, 0.5)
BATCH = 5


def limits_of(pair):
    return renorm.RenormLimits(jnp.float32(pair[0]), jnp.float32(pair[1])) if pair else None


@functools.cache
def session(latent_layer, activation="relu6", convention="tensorflow", hw=(39, 47)):
    """Cut network, parameters, statistics, latents and labels, float32, as `learner` holds them."""
    network = mobilenet_v1(0.25, hw, 10, convention, activation)
    if latent_layer == 0:  # its first five layers: conv, depthwise with both strides, pointwise
        below = network.layers[:5]
        head = Layer(
            5,
            "linear",
            "linear",
            below[-1].out_channels,
            10,
            (1, 1),
            (1, 1),
            inputs=(below[-1].name,),
        )
        network = dataclasses.replace(network, layers=(*below, head))
    random = np.random.default_rng(100 + latent_layer)
    cut = Cut(network, latent_layer)
    params, statistics = adaptive.init(cut, cases.random_parameters(network, random))
    params["head"] = jnp.asarray(random.normal(0, 0.1, params["head"].shape), jnp.float32)
    shape = (BATCH, *cut.latent_shape)
    top = 255 if latent_layer == 0 else 4
    latents = np.maximum(random.uniform(-1, top, shape), 0).astype(np.float32)
    return cut, params, statistics, latents, random.integers(0, 10, BATCH).astype(np.int32)


def loss_of(cut, statistics, labels, limits, passes):
    def loss(params, latents):
        logits, moments = adaptive.forward(
            cut, params, statistics, latents, limits_of(limits), None, passes
        )
        ones = jnp.ones(labels.shape, bool)
        return adaptive.cross_entropy(logits, jnp.asarray(labels), ones), (logits, moments)

    return loss


def geometry(kind):
    """Odd, strided, unevenly padded layers of every kind, as the table makes them."""
    layers = mobilenet_v1(0.25, (39, 47)).layers
    return [layer for layer in layers[:4] if layer.kind == kind]


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise"])
def test_linear_layers_alone(kind, passes):
    random = np.random.default_rng(0)
    for layer in geometry(kind):
        weight = random.normal(0, 1, layer.weight_shape).astype(np.float32)
        x = random.normal(0, 1, (3, *layer.in_shape)).astype(np.float32)
        dy = random.normal(0, 1, (3, *layer.out_shape)).astype(np.float32)

        @jax.jit
        def run(weight, x, dy, layer=layer):
            y, pull = jax.vjp(functools.partial(linear_part, layer, passes), weight, x)
            return y, pull(dy)

        y, gradients = run(weight, x, dy)
        close(y, oracle.linear(layer, weight.astype(np.float64), x.astype(np.float64)))
        expected = oracle.linear_gradients(
            layer, weight.astype(np.float64), x.astype(np.float64), dy.astype(np.float64)
        )
        for got, wanted in zip(gradients, expected, strict=True):
            close(got, wanted)


def linear_part(layer, passes, weight, x):
    return adaptive.linear_part(layer, weight, x, passes)


edges = st.tuples(st.integers(0, 2), st.integers(0, 2))


@pytest.mark.long
@settings(max_examples=examples.at_least(12))
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 3),
    st.tuples(edges, edges),
)
def test_depthwise_gradient_of_any_geometry(in_hw, kernel, stride, padding):
    """Also what no MobileNet has: kernels of even and unequal sides, strides wider than those."""
    ways = [adaptive.Passes(native=True)] if load(kernels.LIBRARY) else []
    room = [size + sum(pad) - side for size, pad, side in zip(in_hw, padding, kernel, strict=True)]
    assume(min(room) >= 0)
    out_h, out_w = (size // stride + 1 for size in room)
    layer = Layer(0, "any", "depthwise", 2, 2, in_hw, (out_h, out_w), kernel, stride, padding)
    random = np.random.default_rng(sum(kernel))
    weight, x, dy = (
        random.integers(-9, 10, shape).astype(np.float32)
        for shape in (layer.weight_shape, (2, *layer.in_shape), (2, *layer.out_shape))
    )
    wanted = oracle.linear_gradients(layer, weight, x, dy)
    for passes in (adaptive.Passes(), *ways):
        y, pull = jax.vjp(
            functools.partial(linear_part, layer, passes), *map(jnp.asarray, (weight, x))
        )
        np.testing.assert_array_equal(y, oracle.linear(layer, weight, x))
        for got, expected in zip(pull(jnp.asarray(dy)), wanted, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("latent_layer", "limits"),
    [(0, LIMITS), (23, LIMITS), (23, (1.0, 0.0)), (23, None), (27, LIMITS)],
)
def test_whole_stage(latent_layer, limits, passes):
    """Loss, logits, moments, every parameter's gradient and the latents' own."""
    cut, params, statistics, latents, labels = session(latent_layer)
    loss = loss_of(cut, statistics, labels, limits, passes)
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (value, (logits, moments)), (gradients, dlatents) = run(params, jnp.asarray(latents))
    done = oracle.forward(cut, params, statistics, latents, labels, limits)
    expected, inputs = oracle.backward(done, params, labels, limits is not None)
    close(value, done.loss)
    close(logits, done.logits)
    trees_close(moments, done.moments)
    trees_close(gradients, expected)
    if not cut.is_pooled:
        wanted = inputs[cut.above[0].name]
        scale = np.array(cut.network.pixel_std) if latent_layer == 0 else 1.0
        close(dlatents, wanted / scale)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("limits", [LIMITS, None])
def test_float64_agrees_with_finite_differences(activation, limits):
    """Central differences along random directions of every tensor, r and d held as constants."""
    cut, params, statistics, latents, labels = session(21, activation, "pytorch")
    latents = latents.astype(np.float64)
    arguments = (cut, params, statistics)
    done = oracle.forward(*arguments, latents, labels, limits)
    gradients, inputs = oracle.backward(done, params, labels, limits is not None)
    random, step = np.random.default_rng(1), 1e-6

    def difference(change):
        ends = []
        for sign in (1, -1):
            moved, x = oracle.tree_map(np.copy, params), latents.copy()
            change(moved, x, sign * step)
            ends.append(
                oracle.forward(
                    cut, moved, statistics, x, labels, limits, done.corrections if limits else None
                ).loss
            )
        return (ends[0] - ends[1]) / (2 * step)

    tensors = [("head", None, params["head"].shape), ("latents", None, latents.shape)]
    tensors += [
        (name, field, value.shape)
        for name, own in params["layers"].items()
        for field, value in own.items()
    ]
    for name, field, shape in tensors:
        direction = random.normal(0, 1, shape)

        def change(moved, x, amount, name=name, field=field, direction=direction):
            where = (
                x
                if name == "latents"
                else (moved["head"] if name == "head" else moved["layers"][name][field])
            )
            where += amount * direction

        gradient = (
            inputs[cut.above[0].name]
            if name == "latents"
            else (gradients["head"] if name == "head" else gradients["layers"][name][field])
        )
        expected = (gradient * direction).sum()
        assert abs(difference(change) - expected) <= 1e-6 * np.abs(gradient * direction).sum()


@pytest.mark.parametrize("value", [-1.0, -0.0, 0.0, 6.0, 7.0])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_activation_has_no_gradient_at_its_corners(value, activation):
    slope = jax.grad(lambda x: floating.activate(x, activation))(jnp.float32(value))
    assert slope == (1.0 if value > 0 and activation == "relu" else 0.0)


def one_batch_event(cut, protocol, params, statistics, latents, labels):
    """`learner.learn_event` of a single mini-batch without replays, and its state before."""
    memory = replay.init(0, cut.latent_shape, 8, 4.0)
    learns = Learner(cut, protocol, named(protocol, 0))
    state = learner.init(learns, params, statistics, memory)
    copied = jax.tree.map(jnp.copy, state)  # the event donates its state
    return learner.learn_event(learns, copied, EventData(jnp.asarray(latents), labels, 0, 0))


@pytest.mark.parametrize("latent_layer", [23, 27])
def test_one_full_step_of_the_learner(latent_layer):
    """An event of one mini-batch and two epochs: two SGD steps with momentum, renorm schedule."""
    cut, params, statistics, latents, labels = session(latent_layer)
    protocol = Protocol(
        minibatch=BATCH,
        first_epochs=2,
        first_learning_rate=0.05,
        weight_decay=1e-3,
        renorm_step=0.01,
        first_renorm_momentum=0.1,
        classifier="plain",
        center_momentum=0.3,
    )
    state, losses = one_batch_event(cut, protocol, params, statistics, latents, labels)
    running, center = statistics, 0.0
    momentum = oracle.tree_map(np.zeros_like, params)
    for step in range(2):
        limits = (1 + 0.01 * BATCH * step, 0.01 * BATCH * step)
        done = oracle.forward(cut, params, running, latents, labels, limits, center=center)
        gradients, _ = oracle.backward(done, params, labels)
        params, momentum = oracle.sgd(params, gradients, momentum, 0.05, 0.9, 1e-3)
        running = {
            name: oracle.tree_map(lambda old, new: old + 0.1 * (new - old), running[name], moments)
            for name, moments in done.moments.items()
        }
        close(losses[step], done.loss)
        mean = done.features.mean(axis=(0, 1, 2))
        center = 0.7 * center + 0.3 * mean if step else mean
    close(state.training.center, center)
    trees_close(state.training.params, params)
    trees_close(state.training.statistics, running)
    trace = next(part for part in state.training.optimizer if hasattr(part, "trace")).trace
    trees_close(trace, momentum, 2e-5)
