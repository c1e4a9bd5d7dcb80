"""Integer passes of the frozen layers of a graph.

A convolution is a product of columns of codes (`i6_im2row`), but for a 3x3 one of three channels
and stride 2, which has a program of its own. A mean over windows is composed: each window is summed
as `i4w_pool` sums a plane. The 64-bit requantization and all programs but those of `integer` are
designs without RTL measurements.
"""

import dataclasses

from pulpsim.cost.planes import Call, Operand, Planes
from pulpsim.cost.products import Product
from pulpsim.cost.tiling import Place
from qlrjax.network import Layer

_DEPTHWISE = {(3, 1): "i2w_dw", (3, 2): "i2sw_dw", (5, 1): "i5w_dw", (5, 2): "i5sw_dw"}


def frozen(layer: Layer, images: int, maps: Place, weights: Place) -> Planes | Product:
    """Integer forward of a frozen layer over `images` images."""
    match layer.kind:
        case "conv" if (layer.kernel_hw, layer.stride, layer.in_channels) != ((3, 3), 2, 3):
            return _columns(layer, images, maps, weights)
        case "conv":
            return _first_convolution(layer, images, maps, weights)
        case "depthwise":
            return _depthwise(layer, images, maps, weights)
        case "add":
            return _add(layer, images, maps, weights)
        case "max_pool":
            return _max_pool(layer, images, maps)
        case "average_pool":
            return _average_pool(layer, images, maps)
        case _:
            return _product(layer, layer.in_channels, images, maps, weights)


def _product(layer: Layer, k: int, images: int, maps: Place, weights: Place) -> Product:
    height, width = layer.out_hw
    return Product(
        "i1w_4x2",
        layer.out_channels,
        k,
        height * width * images,
        1.0,
        1.0,
        1.0,
        b_rows="m",
        c_rows="m",
        a_place=weights,
        b_place=maps,
        c_place=maps,
        extra_bytes=8.0,
    )


def _columns(layer: Layer, images: int, maps: Place, weights: Place) -> Product:
    """A product of columns whose rows are whole words; the input is read once."""
    rows, columns = layer.kernel_hw
    row_bytes = -(-columns * layer.in_channels // 4) * 4
    k = rows * row_bytes
    pixels = layer.out_hw[0] * layer.out_hw[1]
    return dataclasses.replace(
        _product(layer, k, images, maps, weights),
        b_bytes=layer.in_elements / (pixels * k),
        columns=True,
        window=(rows, layer.stride * layer.in_channels),
    )


def _first_convolution(layer: Layer, images: int, maps: Place, weights: Place) -> Planes:
    height, width = layer.out_hw
    source = _padded(layer, maps)
    rows = dataclasses.replace(
        source,
        row_elements=3 * source.row_elements,
        element_bytes=1.0 / layer.out_channels,
    )
    weight = Operand(place=weights, per_channel_bytes=28.0 + 8.0)
    target = Operand(width, 1.0, place=maps, write=True)
    return Planes(
        layer.out_channels,
        height,
        (Call("i3w_conv", "lines", width),),
        (rows, weight, target),
        images,
        layer.macs * images,
    )


def _depthwise(layer: Layer, images: int, maps: Place, weights: Place) -> Planes:
    (height, width), side, stride = layer.out_hw, layer.kernel, layer.stride
    padded = (width - 1) * stride + side
    call = Call(_DEPTHWISE[side, stride], "window", padded, stride, side - stride)
    # Rows of whole words, kappa and lambda.
    weight = Operand(place=weights, per_channel_bytes=side * (-(-side // 4) * 4) + 8.0)
    target = Operand(width, 1.0, place=maps, write=True)
    operands = (_padded(layer, maps), weight, target)
    return Planes(layer.out_channels, height, (call,), operands, images, layer.macs * images)


def _padded(layer: Layer, maps: Place) -> Operand:
    side, stride = layer.kernel, layer.stride
    return Operand((layer.out_hw[1] - 1) * stride + side, 1.0, stride, side - stride, maps)


def _add(layer: Layer, images: int, maps: Place, weights: Place) -> Planes:
    height, width = layer.out_hw
    either = Operand(width, 1.0, place=maps)
    scales = Operand(place=weights, per_channel_bytes=12.0)
    target = Operand(width, 1.0, place=maps, write=True)
    call = Call("i7w_add", "pixels", width)
    return Planes(layer.out_channels, height, (call,), (either, either, scales, target), images)


def _max_pool(layer: Layer, images: int, maps: Place) -> Planes:
    height, width = layer.out_hw
    call = Call("i8_max", "windows", width, layer.stride, layer.kernel - layer.stride)
    target = Operand(width, 1.0, place=maps, write=True)
    return Planes(layer.out_channels, height, (call,), (_padded(layer, maps), target), images)


def _average_pool(layer: Layer, images: int, maps: Place) -> Planes:
    window = layer.kernel_hw[0] * layer.kernel_hw[1]
    outputs = layer.out_hw[0] * layer.out_hw[1]
    source = Operand(layer.in_hw[0] * layer.in_hw[1] / outputs, 1.0, place=maps)
    target = Operand(1, 1.0, place=maps, write=True)
    call = Call("i4w_pool", "each", window)
    return Planes(layer.out_channels, outputs, (call,), (source, target), images)


def frozen_pool(channels: int, hw: tuple[int, int], images: int, maps: Place) -> Planes:
    """Integer average pooling before the linear layer."""
    source = Operand(hw[1], 1.0, place=maps)
    target = Operand(place=maps, write=True, per_channel_bytes=1.0)
    call = Call("i4w_pool", "pixels", hw[1])
    return Planes(channels, hw[0], (call,), (source, target), images, split_rows=False)
