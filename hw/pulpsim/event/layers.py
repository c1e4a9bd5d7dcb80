"""From a row of the layer table to the passes that run it: forward, gradients, normalisation.

Activations are CHW, with the samples of a group side by side in every channel, so that a pointwise
layer is one matrix product over all their pixels. Depthwise inputs lie in L2 inside zero-padded
planes: the padding is written once and the DMA writes and reads around it. Integer maps change
between HWC (pointwise) and CHW (depthwise) in the strides of the producer's byte stores, at no cost
in instructions. That, the codes of fewer than 7 bits and the first layer's FP32 columns are designs
without RTL measurements. The integer passes of frozen layers are in `frozen_layers`.
"""

import dataclasses
from typing import Literal

from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.linear import Linear
from pulpsim.cost.planes import Call, Flat, Operand, Planes
from pulpsim.cost.products import Product
from pulpsim.cost.tiling import Place
from pulpsim.event.setting import Statistics
from qlrjax.network import Layer

Pass = Product | Planes | Flat | Linear
AnyPass = Pass | BlockedProduct | BlockedPlanes
StepName = Literal[
    "frozen",
    "forward",
    "normalise",
    "norm sums",
    "norm gradient",
    "weight gradient",
    "input gradient",
    "both gradients",
    "add",
    "window pool",
    "pool",
    "pool gradient",
    "add gradient",
    "window pool gradient",
    "loss",
    "update",
    "replay read",
    "latent write",
    "replay write",
]


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the tensors of training live (see `memory`), and the activation's kernel."""

    activations: Place = "l2"
    maps: Place = "l2"
    weights: Place = "l2"
    gradients: Place = "l2"
    relu: str = "e10_relu6"


def forward(
    layer: Layer, group: int, statistics: Statistics, places: Places, *, padded: bool
) -> Pass:
    """FP32 forward of a trained layer over a group of samples.

    Args:
        layer: The row of the table.
        group: Samples.
        statistics: With running statistics, normalisation and ReLU are fused into the pass;
            otherwise the mini-batch's sums are.
        places: Where tensors live.
        padded: The next layer is depthwise and wants padded planes.
    """
    height, width = layer.out_hw
    running = statistics == "running"
    acts = places.activations
    if layer.kind == "linear":
        return Linear("l1_fwd", layer.out_channels, layer.in_channels, group, places.weights)
    if layer.kind == "depthwise":
        calls = (window(layer, "forward"), *_after(width, running, places))
        target = Operand(width, 5.0 if running else 4.0, place=acts, write=True)
        operands = (padded_input(layer, acts), taps(layer, places.weights), target)
        return Planes(layer.out_channels, height, calls, operands, group, layer.macs * group)
    return Product(
        "p1_2x4",
        layer.out_channels,
        layer.fan_in,
        height * width * group,
        b_bytes=_column_bytes(layer),
        c_bytes=5.0 if running else 4.0,
        c_row_elements=width if padded and running else 0,
        a_place=places.weights,
        b_place=acts,
        c_place=acts,
        fused=("e4_bn", places.relu) if running else ("e5_stat",),
        columns=layer.kind == "conv",
    )


def normalise(layer: Layer, group: int, places: Places, *, padded: bool) -> Planes:
    """Second half of a batch-renormalised layer: xhat, affine and ReLU, once the sums are known."""
    height, width = layer.out_hw
    calls = (Call("e4_bn", "pixels", width), *_after(width, True, places))
    acts = places.activations
    operands = (
        Operand(width, place=acts),
        Operand(width, 5.0, place=acts, write=True),
        Operand(width, place=acts, write=True, padded=padded),
    )
    return Planes(layer.out_channels, height, calls, operands, group)


def norm_backward(
    layer: Layer, group: int, statistics: Statistics, places: Places
) -> list[tuple[StepName, Planes]]:
    """Gradient through ReLU and normalisation of a layer's output."""
    height, width = layer.out_hw
    mask, sums = Call("e3_bwd", "elements", width), Call("e6a_bnsum", "pixels", width)
    acts, maps = places.activations, places.maps
    to_window = layer.kind == "depthwise"
    first = (Operand(width, place=maps), Operand(width, 5.0, place=acts))
    out = Operand(width, place=maps, write=True, padded=to_window)
    if statistics == "running":
        calls = (mask, sums, Call("e4_bn", "pixels", width))
        return [("norm gradient", Planes(layer.out_channels, height, calls, (*first, out), group))]
    plain = dataclasses.replace(out, padded=False)
    second = (Operand(width, place=maps), Operand(width, place=acts), out)
    calls = (Call("e6b_bnbwd", "pixels", width),)
    return [
        ("norm sums", Planes(layer.out_channels, height, (mask, sums), (*first, plain), group)),
        ("norm gradient", Planes(layer.out_channels, height, calls, second, group)),
    ]


def weight_gradient(layer: Layer, group: int, accumulate: bool, places: Places) -> Pass:
    """Weight gradient of a layer; `accumulate` adds to the gradients of earlier groups."""
    height, width = layer.out_hw
    if layer.kind == "linear":
        return Linear("l3a_wgrad", layer.out_channels, layer.in_channels, group, places.gradients)
    if layer.kind == "depthwise":
        call = window(layer, "weight gradient")
        operands = (
            padded_input(layer, places.activations),
            Operand(width, place=places.maps, padded=True),
            taps(layer, places.gradients),
            dataclasses.replace(taps(layer, places.gradients), write=True),
        )
        return Planes(layer.out_channels, height, (call,), operands, group, layer.macs * group)
    return Product(
        "p2a_2x4" if accumulate else "p2_2x4",
        layer.out_channels,
        height * width * group,
        -(-layer.fan_in // 4) * 4,
        b_bytes=_column_bytes(layer),
        b_rows="m",
        a_place=places.maps,
        b_place=places.activations,
        c_place=places.gradients,
        accumulate=accumulate,
        columns=layer.kind == "conv",
    )


def input_gradient(layer: Layer, group: int, places: Places) -> Pass:
    """Gradient of a layer's input.

    Raises:
        ValueError: For the first convolution, whose input is the image.
    """
    height, width = layer.out_hw
    maps = places.maps
    if layer.kind == "conv":
        raise ValueError("the image needs no gradient")
    if layer.kind == "linear":
        return Linear("l2_igrad", layer.out_channels, layer.in_channels, group, places.weights)
    if layer.kind == "pointwise":
        return Product(
            "p3_2x4",
            layer.in_channels,
            layer.out_channels,
            height * width * group,
            a_rows="k",
            a_place=places.weights,
            b_place=maps,
            c_place=maps,
        )
    if layer.kernel == 5:
        side, stride = layer.kernel, layer.stride
        width = (layer.out_hw[1] - 1) * stride + side
        name = "d5_igrad" if stride == 1 else "d5s_igrad"
        call = Call(name, "window", width, stride, side - stride)
        source = Operand(layer.out_hw[1], place=maps)
        target = Operand(width, scale=stride, halo=side - stride, place=maps, write=True)
    elif layer.stride == 1:
        call = Call("d3_col", "window", width + 2, 1, 2)
        source = Operand(width + 2, scale=1, halo=2, place=maps)
        target = Operand(width, place=maps, write=True)
    else:
        call = Call("d3s_igrad", "rows", width)
        source = Operand(width + 1, scale=1, halo=1, place=maps)
        target = Operand(2 * width, scale=2, place=maps, write=True)
    operands = (source, taps(layer, places.weights), target)
    macs = layer.macs * group
    # A row of a 5x5 input gradient takes parts of rows of other tiles.
    split = layer.kernel == 3
    return Planes(layer.out_channels, height, (call,), operands, group, macs=macs, split_rows=split)


def pool(channels: int, hw: tuple[int, int], group: int, places: Places, *, back: bool) -> Planes:
    """Average pooling in front of the linear layer, or its gradient."""
    plane = Operand(hw[1], place=places.maps if back else places.activations, write=back)
    vector = Operand(
        place=places.maps if back else places.activations, write=not back, per_channel_bytes=4.0
    )
    call = Call("e7_gapb" if back else "e7_gapf", "pixels", hw[1])
    return Planes(channels, hw[0], (call,), (plane, vector), group, split_rows=False)


def loss(classes: int, group: int) -> Planes:
    """Softmax cross-entropy and its gradient."""
    operands = (Operand(classes), Operand(classes, write=True))
    return Planes(1, 1, (Call("e8_smx", "vector", classes),), operands, group)


def update(parameters: int, weights: Place, gradients: Place, momentum: Place, zero: bool) -> Flat:
    """SGD with momentum; gradients are zeroed where they accumulate."""
    reads: tuple[tuple[Place, float], ...] = ((weights, 4.0), (gradients, 4.0), (momentum, 4.0))
    writes: tuple[tuple[Place, float], ...] = ((weights, 4.0), (momentum, 4.0))
    if zero:
        writes = (*writes, (gradients, 4.0))
    return Flat(("e1_sgd",), parameters, reads, writes, in_place=True)


def replay_read(elements: int, bits: int, activations: Place) -> Flat:
    """Unpacks and dequantizes latents into the first trained layer's input."""
    kernels = () if bits == 32 else ("e2_trick",) if bits == 8 else (f"e9_unp{bits}",)
    return Flat(kernels, elements, (("external", bits / 8),), ((activations, 4.0),))


def latent_write(elements: int, bits: int, maps: Place) -> Flat:
    """Packs the frozen stage's codes into the off-chip RAM."""
    # Of 7 bits, cutting one off is rounding.
    kernels = () if bits in (8, 32) else ("e9_pck7",) if bits == 7 else (f"e9_rnd{bits}",)
    return Flat(kernels, elements, ((maps, 1.0),), (("external", bits / 8),))


def replay_write(size_bytes: int) -> Flat:
    """Copies admitted latents into their slots."""
    return Flat((), size_bytes, (("external", 1.0),), (("external", 1.0),))


def _after(width: int, running: bool, places: Places) -> tuple[Call, ...]:
    if running:
        return (Call("e4_bn", "pixels", width), Call(places.relu, "elements", width))
    return (Call("e5_stat", "pixels", width),)


_WINDOWS = {
    "forward": {(3, 1): "d1_col", (3, 2): "d1s_col", (5, 1): "d5_fwd", (5, 2): "d5s_fwd"},
    "weight gradient": {
        (3, 1): "d2a_wgrad",
        (3, 2): "d2sa_wgrad",
        (5, 1): "d5a_wgrad",
        (5, 2): "d5sa_wgrad",
    },
}


def window(layer: Layer, step: StepName) -> Call:
    """A depthwise kernel, by window and stride, over padded planes."""
    # Stride 2 is measured on planes of 2 * out + 1 rows and columns.
    side, stride = layer.kernel, layer.stride
    width = (layer.out_hw[1] - 1) * stride + side
    return Call(_WINDOWS[step][side, stride], "window", width, stride, side - stride)


def padded_input(layer: Layer, place: Place) -> Operand:
    """The padded planes that a depthwise layer reads."""
    width = (layer.out_hw[1] - 1) * layer.stride + layer.kernel
    return Operand(width, scale=layer.stride, halo=layer.kernel - layer.stride, place=place)


def taps(layer: Layer, place: Place) -> Operand:
    """The taps of every channel, nine or 25, or their gradient."""
    return Operand(place=place, per_channel_bytes=4.0 * layer.fan_in)


def _column_bytes(layer: Layer) -> float:
    # The image is read, 3 * stride^2 values per output pixel, and unfolded in L1.
    if layer.kind != "conv":
        return 4.0
    return 4.0 * layer.in_channels * layer.stride**2 / layer.fan_in
