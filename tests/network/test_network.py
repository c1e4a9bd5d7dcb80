"""The layer table against the published network, other widths and odd images."""

import math

import jax
import jax.numpy as jnp
import pytest

from qlrjax.network import Cut, mobilenet_v1

# kind, Cin, Cout, side in, side out, multiply-accumulates, weights of MobileNet-V1 at 128 pixels
# and 50 classes: index and names as ar1-pytorch and the Caffe model count them.
TABLE = [
    ("conv1", "conv", 3, 32, 128, 64, 3_538_944, 864),
    ("conv2_1/dw", "depthwise", 32, 32, 64, 64, 1_179_648, 288),
    ("conv2_1/sep", "pointwise", 32, 64, 64, 64, 8_388_608, 2_048),
    ("conv2_2/dw", "depthwise", 64, 64, 64, 32, 589_824, 576),
    ("conv2_2/sep", "pointwise", 64, 128, 32, 32, 8_388_608, 8_192),
    ("conv3_1/dw", "depthwise", 128, 128, 32, 32, 1_179_648, 1_152),
    ("conv3_1/sep", "pointwise", 128, 128, 32, 32, 16_777_216, 16_384),
    ("conv3_2/dw", "depthwise", 128, 128, 32, 16, 294_912, 1_152),
    ("conv3_2/sep", "pointwise", 128, 256, 16, 16, 8_388_608, 32_768),
    ("conv4_1/dw", "depthwise", 256, 256, 16, 16, 589_824, 2_304),
    ("conv4_1/sep", "pointwise", 256, 256, 16, 16, 16_777_216, 65_536),
    ("conv4_2/dw", "depthwise", 256, 256, 16, 8, 147_456, 2_304),
    ("conv4_2/sep", "pointwise", 256, 512, 8, 8, 8_388_608, 131_072),
    ("conv5_1/dw", "depthwise", 512, 512, 8, 8, 294_912, 4_608),
    ("conv5_1/sep", "pointwise", 512, 512, 8, 8, 16_777_216, 262_144),
    ("conv5_2/dw", "depthwise", 512, 512, 8, 8, 294_912, 4_608),
    ("conv5_2/sep", "pointwise", 512, 512, 8, 8, 16_777_216, 262_144),
    ("conv5_3/dw", "depthwise", 512, 512, 8, 8, 294_912, 4_608),
    ("conv5_3/sep", "pointwise", 512, 512, 8, 8, 16_777_216, 262_144),
    ("conv5_4/dw", "depthwise", 512, 512, 8, 8, 294_912, 4_608),
    ("conv5_4/sep", "pointwise", 512, 512, 8, 8, 16_777_216, 262_144),
    ("conv5_5/dw", "depthwise", 512, 512, 8, 8, 294_912, 4_608),
    ("conv5_5/sep", "pointwise", 512, 512, 8, 8, 16_777_216, 262_144),
    ("conv5_6/dw", "depthwise", 512, 512, 8, 4, 73_728, 4_608),
    ("conv5_6/sep", "pointwise", 512, 1024, 4, 4, 8_388_608, 524_288),
    ("conv6/dw", "depthwise", 1024, 1024, 4, 4, 147_456, 9_216),
    ("conv6/sep", "pointwise", 1024, 1024, 4, 4, 16_777_216, 1_048_576),
    ("linear", "linear", 1024, 50, 1, 1, 51_200, 51_200),
]


@pytest.mark.parametrize("index", range(28))
def test_published_table(index):
    layer = mobilenet_v1().layers[index]
    name, kind, c_in, c_out, side_in, side_out, macs, weights = TABLE[index]
    assert layer.index == index
    assert (layer.name, layer.kind) == (name, kind)
    assert layer.in_shape == (side_in, side_in, c_in)
    assert layer.out_shape == (side_out, side_out, c_out)
    assert (layer.macs, layer.weights) == (macs, weights)
    assert layer.out_elements == side_out**2 * c_out
    assert layer.fan_in * layer.out_elements == macs


@pytest.mark.parametrize("convention", ["tensorflow", "pytorch"])
def test_totals(convention):
    network = mobilenet_v1(padding_convention=convention)
    assert network.macs == 185_427_968
    assert network.weights == 3_236_288
    assert 2 * sum(layer.out_channels for layer in network.layers[:-1]) == 21_888  # gamma and beta
    # The constant in pulp-sdk's DORY MobileNetV1, which has 1000 classes.
    assert mobilenet_v1(classes=1000).macs == 186_400_768


def test_latents_of_the_paper():
    network = mobilenet_v1()
    elements = {index: network.latent_elements(index) for index in range(19, 28)}
    assert elements == {
        19: 32_768,
        20: 32_768,
        21: 32_768,
        22: 32_768,
        23: 32_768,
        24: 8_192,
        25: 16_384,
        26: 16_384,
        27: 1_024,
    }
    assert network.latent_shape(0) == (128, 128, 3)
    assert network.latent_shape(23) == (8, 8, 512)
    assert network.latent_shape(27) == (1, 1, 1024)
    assert network.pool_hw == (4, 4)


@pytest.mark.parametrize("latent_layer", range(28))
def test_the_cut_loses_no_layer(latent_layer):
    network = mobilenet_v1(width=0.5)
    below, above = network.frozen(latent_layer), network.adaptive(latent_layer)
    assert below + above == network.layers
    assert len(below) == latent_layer


@pytest.mark.parametrize("latent_layer", [-1, 28, 100])
def test_a_cut_outside_the_network_is_refused(latent_layer):
    with pytest.raises(ValueError, match="out of range"):
        mobilenet_v1().frozen(latent_layer)


# Parameters of MobileNet-V1 with 1000 classes as published in millions (arXiv 1704.04861, table 6):
# weights, biases of the classifier, gamma and beta.
@pytest.mark.parametrize(("width", "millions"), [(1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)])
def test_width_multiplier_parameters(width, millions):
    network = mobilenet_v1(width=width, resolution=224, classes=1000)
    norm = 2 * sum(layer.out_channels for layer in network.layers[:-1])
    assert round((network.weights + norm + 1000) / 1e6, 1) == millions


# Multiply-adds in millions at width 1.0 (same paper, table 7) and of the widths (table 6).
@pytest.mark.parametrize(
    ("width", "resolution", "millions"),
    [
        (1.0, 224, 569),
        (1.0, 192, 418),
        (1.0, 160, 291),
        (1.0, 128, 186),
        (0.75, 224, 325),
        (0.5, 224, 149),
        (0.25, 224, 41),
    ],
)
def test_published_multiply_adds(width, resolution, millions):
    network = mobilenet_v1(width=width, resolution=resolution, classes=1000)
    assert round(network.macs / 1e6) == millions


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0])
def test_widths_scale_channels(width):
    for layer, full in zip(
        mobilenet_v1(width=width).layers[:-1], mobilenet_v1().layers[:-1], strict=True
    ):
        assert layer.out_channels == full.out_channels * width
        assert layer.out_hw == full.out_hw


@pytest.mark.parametrize("resolution", [(128, 96), (33, 47), (29, 64), (1, 1), (32, 32), 127])
@pytest.mark.parametrize("convention", ["tensorflow", "pytorch"])
def test_shapes_are_those_of_a_convolution(resolution, convention):
    """Every 3x3 layer's size and padding against XLA's own convolution, shapes only."""
    network = mobilenet_v1(0.25, resolution, padding_convention=convention)
    for layer in network.layers[:-1]:
        if layer.kernel == 1:
            assert layer.out_hw == layer.in_hw
            continue
        padding = "SAME" if convention == "tensorflow" else ((1, 1), (1, 1))

        def convolve(padding, layer=layer):
            return jax.eval_shape(
                lambda x, w: jax.lax.conv_general_dilated(
                    x, w, (layer.stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
                ),
                jax.ShapeDtypeStruct((1, *layer.in_hw, 1), jnp.float32),
                jax.ShapeDtypeStruct((3, 3, 1, 1), jnp.float32),
            ).shape[1:3]

        assert layer.out_hw == convolve(padding) == convolve(layer.padding)
        if convention == "tensorflow":
            same = jax.lax.padtype_to_pads(layer.in_hw, (3, 3), (layer.stride,) * 2, "SAME")
            assert layer.padding == tuple(map(tuple, same))


@pytest.mark.parametrize(
    "arguments",
    [
        {"resolution": 0},
        {"resolution": (8, -1)},
        {"width": 0.0},
        {"width": -1.0},
        {"classes": 0},
        {"width": float("nan")},
    ],
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(ValueError, match=r"positive"):
        mobilenet_v1(**arguments)


def test_a_cut_is_one_value_that_splits_every_layer_once():
    """It hashes by value, so that equal cuts share one compiled program."""
    for latent_layer in range(28):
        cut = Cut(mobilenet_v1(0.25, (40, 24), 7), latent_layer)
        assert [layer.index for layer in cut.below + cut.above] == list(range(28))
        assert cut.normalised == cut.above[:-1]
        assert cut.is_pooled == (latent_layer == 27)
        if cut.below and not cut.is_pooled:
            assert cut.below[-1].out_shape == cut.latent_shape
        assert cut.latent_elements == math.prod(cut.latent_shape)
        assert hash(cut) == hash(Cut(mobilenet_v1(0.25, (40, 24), 7), latent_layer))
    grown = cut.with_classes(9)
    assert (grown.classes, grown.below) == (9, cut.below)
    assert (cut.image_shape, cut.features) == ((40, 24, 3), 256)
    with pytest.raises(ValueError, match=r"latent layer 28 is out of range"):
        Cut(mobilenet_v1(), 28)
