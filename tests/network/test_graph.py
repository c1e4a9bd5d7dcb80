"""Graphs: shapes against XLA, cuts against a search for other paths, costs against publications."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax.network import (
    IMAGES,
    Cut,
    described,
    ds_cnn,
    efficientnet_lite0,
    floating,
    mobilenet_v1,
    mobilenet_v2,
    resnet8,
)
from qlrjax.network.build import Builder, Window, square
from qlrjax.weights import random as random_parameters

NETWORKS = [
    mobilenet_v1(0.25, 32),
    mobilenet_v2(0.35, (38, 33)),
    efficientnet_lite0(33),
    resnet8((27, 35)),
    ds_cnn(),
]


# Million multiply-accumulates and million parameters: torchvision's mobilenet_v2 (300.8, 3.50);
# EfficientNet-Lite0 (tensorflow/tpu's table: 407, which counts more than products; 4.7);
# MLPerf Tiny (Banbury et al. 2021): ResNet8 12.5 and 0.078, DS-CNN 2.66 and 0.0226.
@pytest.mark.parametrize(
    ("network", "macs", "parameters"),
    [
        (mobilenet_v2(1.0, 224, 1000), 300.8, 3.504),
        (efficientnet_lite0(224, 1000), 385.2, 4.652),
        (resnet8(), 12.5, 0.0779),
        (ds_cnn(), 2.657, 0.0226),
    ],
)
def test_published_costs(network, macs, parameters):
    assert round(network.macs / 1e6, 1) == round(macs, 1)
    total = sum(layer.parameters for layer in network.layers) + network.classes
    assert total / 1e6 == pytest.approx(parameters, rel=2e-3)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_cuts_are_the_tensors_without_which_nothing_reaches_the_logits(network):
    """Takes every tensor away in turn and looks whether the image still finds a way round it."""
    for latent_layer in range(1, network.last + 1):
        removed = network.cut_name(latent_layer)
        reached = {IMAGES}
        for layer in network.layers:
            if layer.name != removed and reached & set(layer.inputs):
                reached.add(layer.name)
        assert (latent_layer in network.latent_layers) == (network.layers[-1].name not in reached)
    assert {0, network.last} <= set(network.latent_layers)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_a_cut_loses_no_layer_and_names_its_latent(network):
    for latent_layer in network.latent_layers:
        cut = Cut(network, latent_layer)
        assert cut.below + cut.above == network.layers
        assert network.latent_layer_after(cut.latent_name) == latent_layer
        if latent_layer < network.last:
            source = {row.name: row.out_shape for row in network.layers} | {
                IMAGES: network.in_shape
            }
            assert cut.latent_shape == source[cut.latent_name]


def test_a_cut_that_other_data_passes_is_refused_by_name():
    network = resnet8()
    with pytest.raises(ValueError, match=r"after b0/conv1\): b0/add also takes .* stem .*"):
        Cut(network, 2)
    with pytest.raises(ValueError, match=r"cut at 1 \(after stem\) or 4 \(after b0/add\)"):
        network.latent_layer_after("b0/conv2")
    with pytest.raises(ValueError, match="no layer 'nowhere' to cut after"):
        network.latent_layer_after("nowhere")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_plain_values_give_the_network_back(network):
    grown = network.with_classes(7)
    assert described.from_values(described.to_values(network), 7) == grown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "gru"}, "kind 'gru'"),
        ({"activation": "gelu"}, "activation 'gelu'"),
        ({"inputs": ["nobody"]}, "no layer nobody"),
    ],
)
def test_damaged_values_are_refused(change, message):
    values = described.to_values(resnet8())
    values["layers"][3] |= change
    with pytest.raises(ValueError, match=message):
        described.from_values(values, 10)


def convolve(x, weight, layer, groups=1):
    """XLA's own convolution in float64."""
    return jax.lax.conv_general_dilated(
        x,
        weight,
        (layer.stride,) * 2,
        layer.padding,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize(
    "network",
    [
        *(pytest.param(network, marks=pytest.mark.long) for network in NETWORKS[1:3]),
        *NETWORKS[3:],
    ],
    ids=lambda network: network.name,
)
def test_float_inference_is_that_of_xla_s_operators(network):
    parameters = random_parameters(network, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, *network.in_shape)).astype(np.uint8)
    got = floating.infer(Cut(network, network.last), parameters, jnp.asarray(images))
    mean, std = np.float32(network.pixel_mean), np.float32(network.pixel_std)
    values = {
        IMAGES: (jnp.asarray(images, jnp.float32) - mean[None, None, None]) / std[None, None, None]
    }
    for layer, one in zip(network.layers[:-1], got, strict=False):
        first, own = values[layer.inputs[0]], parameters.get(layer.name, {})
        if layer.kind == "add":
            y = first + values[layer.inputs[1]]
        else:
            weight = jnp.asarray(own["weight"])
            if layer.kind == "depthwise":
                y = convolve(first, weight[:, :, None], layer, layer.out_channels)
            else:
                y = convolve(first, weight.reshape(*layer.kernel_hw, *weight.shape[-2:]), layer)
            if layer.batch_norm:
                y = (y - own["mean"][None, None, None]) / np.sqrt(
                    own["variance"] + np.float32(network.bn_epsilon)
                )[None, None, None]
                y = y * own["gamma"][None, None, None] + own["beta"][None, None, None]
            else:
                y = y + own["bias"][None, None, None]
        if layer.activation != "none":
            y = jnp.clip(y, 0, 6 if layer.activation == "relu6" else np.inf)
        assert one.shape[1:] == layer.out_shape
        np.testing.assert_allclose(one, y, rtol=1e-4, atol=2e-4 * float(jnp.abs(y).max()))
        values[layer.name] = one
    np.testing.assert_allclose(
        got[-1], values[network.layers[-2].name].mean(axis=(1, 2), keepdims=True), rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_poolings_are_xla_s_reductions(kind, stride):
    build = Builder((9, 7, 4))
    build.append("pool", kind, window=Window((3, 2), stride, ((1, 0), (1, 1))))
    (layer,) = build.layers
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 9, 7, 4)), jnp.float32)
    start, step = (-jnp.inf, jax.lax.max) if kind == "max_pool" else (0.0, jax.lax.add)
    wanted = jax.lax.reduce_window(
        x, start, step, (1, 3, 2, 1), (1, stride, stride, 1), ((0, 0), (1, 0), (1, 1), (0, 0))
    )
    wanted = wanted / 6 if kind == "average_pool" else wanted
    assert layer.out_shape == wanted.shape[1:]
    np.testing.assert_allclose(floating.combine(layer, [x]), wanted, rtol=1e-5, atol=1e-6)


def test_the_first_of_equal_maxima_takes_the_gradient():
    build = Builder((1, 3, 1))
    build.append("pool", "max_pool", window=Window((1, 3), 1))
    x = jnp.zeros((1, 1, 3, 1), jnp.float32)
    slope = jax.grad(lambda x: floating.combine(build.layers[0], [x]).sum())(x)
    np.testing.assert_array_equal(slope.ravel(), [1, 0, 0])


def test_impossible_graphs_are_refused():
    build = Builder((4, 4, 3))
    build.append("a", "conv", 2, window=square(3))
    with pytest.raises(ValueError, match="two layers are called a"):
        build.append("a", "pointwise", 2)
    with pytest.raises(ValueError, match="smaller than its 5 x 5 window"):
        build.append("b", "conv", 2, window=square(5))
    with pytest.raises(ValueError, match="have different shapes"):
        build.append("c", "add", inputs=("a", IMAGES))


def test_a_network_is_a_static_value():
    assert hash(resnet8()) == hash(resnet8())
    assert dataclasses.replace(resnet8(), name="other") != resnet8()
