"""Whole MobileNet layers, tile by tile on eight cores, against the plain JAX computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pulpsim.cost import platform
from pulpsim.cost.machine import machine
from pulpsim.cost.search import Costs
from pulpsim.event import frozen_layers, layers
from pulpsim.event.layers import Places
from support import hw_tiled

from qlrjax.integer import fixedpoint, frozen
from qlrjax.integer.frozen import IntegerLayer
from qlrjax.network import mobilenet_v1

NETWORK = mobilenet_v1()
SEARCH = Costs(machine(platform.load("vega")), ratio=1.5)
# As small a chip, so that every layer is cut in all directions that it can be cut in.
SMALL = Costs(machine(platform.load("vega").replace(**{"cluster.l1_bytes": 60_000})), ratio=1.5)
PLACES = Places()
CORES = 8


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def close(ours, theirs):
    """Equal to rounding: FP32 sums of another order."""
    scale = float(jnp.abs(theirs).max())
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-5, atol=2e-6 * scale)


def cut(tile, *whole):
    assert any(size < total for size, total in zip(tile, whole, strict=False))


def test_pointwise_forward_and_gradients():
    row = NETWORK.layers[20]
    w, x, dy = normal(0, 512, 512), normal(1, 512, 64), normal(2, 512, 64)
    plain, back = jax.vjp(lambda w, x: jnp.dot(w, x, precision="highest"), w, x)
    dw, dx = back(dy)
    for work, a, b, expected in (
        (layers.forward(row, 1, "running", PLACES, padded=True), w, x, plain),
        (layers.weight_gradient(row, 1, True, PLACES), dy, x.T, dw),
        (layers.input_gradient(row, 1, PLACES), w.T, dy, dx),
    ):
        tile, _ = SEARCH(work)
        cut(tile, work.n, work.k, work.m)
        close(hw_tiled.product(work, tile, a, b, CORES), expected)


def taps(x, w, stride):
    """Plain depthwise: [c, h, w] padded, [c, 3, 3]."""
    high, wide = ((size - 3) // stride + 1 for size in x.shape[1:])
    views = [
        x[:, i : i + (high - 1) * stride + 1 : stride, j : j + (wide - 1) * stride + 1 : stride]
        * w[:, i, j, None, None]
        for i in range(3)
        for j in range(3)
    ]
    return sum(views[1:], views[0])


@pytest.mark.parametrize(("index", "stride"), [(21, 1), (23, 2)])
def test_depthwise_forward_and_gradients(index, stride):
    row = NETWORK.layers[index]
    channels, (height, width) = row.out_channels, row.out_hw
    assert row.stride == stride
    w, dy = normal(3, channels, 3, 3), normal(4, channels, height, width)
    x = jnp.pad(normal(5, channels, *row.in_hw), ((0, 0), (1, 1), (1, 1)))
    x = x[:, : (height - 1) * stride + 3, : (width - 1) * stride + 3]
    plain, back = jax.vjp(lambda x, w: taps(x, w, stride), x, w)
    dx, dw = back(dy)
    tile, _ = SMALL(layers.forward(row, 1, "running", PLACES, padded=False))
    cut(tile, channels, height)
    close(hw_tiled.depthwise(tile, x, w, stride, CORES), plain)
    tile, _ = SMALL(layers.weight_gradient(row, 1, True, PLACES))
    close(hw_tiled.depthwise_weight_gradient(tile, x, dy, stride, CORES), dw)
    tile, _ = SMALL(layers.input_gradient(row, 1, PLACES))
    if stride == 1:
        padded = jnp.pad(dy, ((0, 0), (1, 1), (1, 1)))
        ours = hw_tiled.depthwise(tile, padded, w[:, ::-1, ::-1], 1, CORES)
        close(ours, dx[:, 1:-1, 1:-1])
    else:
        padded = jnp.pad(dy, ((0, 0), (0, 1), (0, 1)))
        ours = hw_tiled.depthwise_input_gradient_stride2(tile, padded, w, CORES)
        close(ours, jnp.pad(dx, ((0, 0), (0, 1), (0, 1)))[:, 1:-1, 1:-1])


def test_linear_forward_and_gradients():
    row = NETWORK.layers[27]
    w, x, dy = normal(6, 50, 1024), normal(7, 3, 1024), normal(8, 3, 50)
    plain, back = jax.vjp(lambda w, x: jnp.dot(x, w.T, precision="highest"), w, x)
    dw, dx = back(dy)
    tile, _ = SEARCH(layers.forward(row, 3, "running", PLACES, padded=False))
    cut(tile, 50)
    close(hw_tiled.linear(tile, w, x, CORES), plain)
    tile, _ = SEARCH(layers.input_gradient(row, 3, PLACES))
    cut(tile, 1024)
    close(hw_tiled.linear(tile, w.T, dy, CORES), dx)
    tile, _ = SEARCH(layers.weight_gradient(row, 3, True, PLACES))
    cut(tile, 50)
    close(hw_tiled.linear_weight_gradient(tile, dy, x, CORES), dw)


def test_first_convolution_in_fp32():
    row = NETWORK.layers[0]
    image = jnp.pad(normal(9, 128, 128, 3), ((0, 1), (0, 1), (0, 0)))
    w = normal(10, 3, 3, 3, 32)
    plain = jax.lax.conv_general_dilated(
        image[None],
        w,
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )[0]
    views = [image[i : 126 + i + 1 : 2, j : 126 + j + 1 : 2] for i in range(3) for j in range(3)]
    columns = jnp.concatenate(views, axis=-1).reshape(-1, 27).T
    work = layers.forward(row, 1, "running", PLACES, padded=True)
    tile, _ = SEARCH(work)
    cut(tile, work.n, work.k, work.m)
    ours = hw_tiled.product(work, tile, w.reshape(27, 32).T, columns, CORES)
    close(ours.T.reshape(64, 64, 32), plain)


def integer_layer(index):
    row = NETWORK.layers[index]
    rng = np.random.default_rng(index)
    cout = row.out_channels
    # The products need 64 bits; the results spread over all codes and clip at both ends.
    spread = 74 * 147 * np.sqrt(row.fan_in)
    kappa = rng.uniform(-1, 1, cout) * 2.0**31 * 150 / spread
    layer = IntegerLayer(
        weight=jnp.asarray(rng.integers(-128, 128, row.weight_shape).astype(np.int8)),
        kappa=jnp.asarray(kappa.astype(np.int32)),
        lam=jnp.asarray(rng.integers(-(2**31), 2**31, cout).astype(np.int32)),
        pad_value=jnp.asarray(rng.integers(0, 256, row.in_channels).astype(np.uint8)),
        kind=row.kind,
        stride=row.stride,
        padding=row.padding,
        shift=31,
        bits=8,
    )
    x = jnp.asarray(rng.integers(0, 256, row.in_shape).astype(np.uint8))
    expected = np.asarray(frozen.apply_layer(layer, x[None])[0])
    assert np.unique(expected).size > 240
    return row, layer, x, expected


def padded(layer, x):
    (top, low), (left, right) = layer.padding
    shape = (top + x.shape[0] + low, left + x.shape[1] + right, x.shape[2])
    canvas = np.array(np.broadcast_to(np.asarray(layer.pad_value), shape))
    canvas[top : top + x.shape[0], left : left + x.shape[1]] = x
    return jnp.asarray(canvas)


@pytest.mark.parametrize("index", [14, 24])
def test_integer_pointwise_bit_for_bit(index):
    row, layer, x, expected = integer_layer(index)
    work = frozen_layers.frozen(row, 1, "l2", "storage")
    tile, _ = SMALL(work)
    cut(tile, work.n, work.k, work.m)
    pixels = x.reshape(-1, row.in_channels)
    ours = hw_tiled.integer_pointwise(
        work, tile, layer.weight.T, pixels, layer.kappa, layer.lam, layer.shift, layer.bits, CORES
    )
    np.testing.assert_array_equal(np.asarray(ours).reshape(expected.shape), expected)


@pytest.mark.parametrize("index", [3, 13])
def test_integer_depthwise_bit_for_bit(index):
    row, layer, x, expected = integer_layer(index)
    tile, _ = SMALL(frozen_layers.frozen(row, 1, "l2", "storage"))
    cut(tile, row.out_channels, row.out_hw[0])
    planes = jnp.moveaxis(padded(layer, x), 2, 0)

    def after(total, channel):
        scale, offset = (values[channel][:, None, None] for values in (layer.kappa, layer.lam))
        return fixedpoint.requantize(total, scale, offset, layer.shift, layer.bits)

    weight = jnp.moveaxis(layer.weight, 2, 0)
    ours = hw_tiled.depthwise(tile, planes, weight, row.stride, CORES, after)
    np.testing.assert_array_equal(np.moveaxis(np.asarray(ours), 0, 2), expected)


def test_first_integer_convolution_bit_for_bit():
    row, layer, x, expected = integer_layer(0)
    tile, _ = SMALL(frozen_layers.frozen(row, 1, "l2", "storage"))
    cut(tile, row.out_channels, row.out_hw[0])
    weight = layer.weight.reshape(27, -1).T
    ours = hw_tiled.integer_conv(
        tile, padded(layer, x), weight, layer.kappa, layer.lam, layer.shift, layer.bits, CORES
    )
    np.testing.assert_array_equal(np.asarray(ours), expected)


@pytest.mark.parametrize("cores", [1, 2, 5, 8])
def test_shares_of_all_core_counts_give_the_same_tile(cores):
    x = normal(11, 19, 7)
    ours = hw_tiled.over_cores(lambda rows: rows * 2, (x,), (), cores, granularity=4)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(x) * 2)
