"""The blocked schedule: a mini-batch layer by layer, in blocks of two levels.

forward   z_i = W_i x_i, x_i = relu(a z_j + b) of the layer j below made when a block arrives; sums
          of z_i and z_i^2 by the producer; the codes of latents are decoded when they arrive;
          adds and poolings are passes of their own, see `joins`
pooling   one vector a sample; the linear layer is one product over the mini-batch
backward  dW_i adds up on chip over the whole mini-batch and SGD is applied to it there;
          dy_j is masked and summed by its last producer; dz_i is made when dy_i and z_i arrive,
          or stored once, whichever costs fewer joules; a depthwise layer does both gradients
          in one pass, see `depthwise_passes`

A convolution of any window is a product of columns, unfolded in L1; its input gradient is a product
that gives columns, which are added up where they overlap before they leave.
"""

import dataclasses
from collections.abc import Callable

from pulpsim.cost.blocked_planes import BlockedPlanes, Stage
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Stream
from pulpsim.cost.planes import Call, Flat, Operand, Planes
from pulpsim.cost.sides import Side
from pulpsim.event import depthwise_passes, joins
from pulpsim.event.joins import Blockwise
from pulpsim.event.operands import Operands
from pulpsim.event.setting import EventSetting
from qlrjax.network import Layer

ROW_PIXELS = 16  # the shortest piece of a channel that is fetched: 64 bytes in FP32
VECTOR_WORDS = 40  # a normalised channel: parameters, momentum, statistics, sums, scales; r and w


Choice = Callable[[list[list[Blockwise]]], list[Blockwise]]


def minibatch(setting: EventSetting, choose: Choice) -> list[Blockwise]:
    """All passes of one mini-batch.

    Args:
        setting: The event.
        choose: Takes one of several ways to do the same.
    """
    *lower, last = setting.network.adaptive(setting.latent_layer)
    ops, found = Operands(setting), list[Blockwise]()
    for row in lower:
        found.append(_there(ops, row))
    found += _linear(ops, last, bool(lower))
    for row in reversed(lower if setting.train_layers else ()):
        found += _back(ops, row, choose)
    channels = sum(row.out_channels for row in lower if row.has_weights)
    if channels and setting.train_layers:
        words = 4.0 * VECTOR_WORDS / 2
        flat = Flat(
            ("e1_sgd",), 2 * channels, (("external", words / 2),), (("external", words / 2),)
        )
        found.append(Blockwise(-1, "norm parameters", "update", flat))
    return found


def _there(ops: Operands, layer: Layer) -> Blockwise:
    """The forward pass of a trained layer below the classifier."""
    match layer.kind:
        case "add":
            return Blockwise.of(layer, "add", joins.add(ops, layer))
        case "max_pool" | "average_pool":
            return Blockwise.of(layer, "window pool", joins.window_pool(ops, layer))
        case "depthwise":
            return Blockwise.of(layer, "forward", depthwise_passes.forward(ops, layer))
        case _:
            return Blockwise.of(layer, "forward", forward(ops, layer))


def _back(ops: Operands, layer: Layer, choose: Choice) -> list[Blockwise]:
    """The gradients of a trained layer below the classifier."""
    found = list[Blockwise]()
    if layer.index == ops.setting.network.last - 1:
        found += joins.global_pool_back(ops, layer)
    if layer.kind == "add":
        return found + joins.add_back(ops, layer)
    if not layer.has_weights:
        return found + joins.window_pool_back(ops, layer)
    if layer.kind == "depthwise":
        both = depthwise_passes.both_gradients(ops, layer)
        return [*found, Blockwise.of(layer, "both gradients", both)]
    ways = [_gradients(ops, layer, stored=False)]
    if ops.of_batch(layer) and not ops.pooled(layer):
        store = Blockwise.of(layer, "norm gradient", joins.store_gradient(ops, layer))
        ways.append([store, *_gradients(ops, layer, stored=True)])
    return found + choose(ways)


def pixels(layer: Layer) -> int:
    """Pixels of an output plane."""
    return layer.out_hw[0] * layer.out_hw[1]


def forward(ops: Operands, layer: Layer) -> BlockedProduct:
    """Raw output of a product, and its sums."""
    samples, area = ops.setting.samples_per_minibatch, pixels(layer)
    return BlockedProduct(
        "p1_2x4",
        layer.out_channels,
        layer.fan_in,
        samples * area,
        ops.weights(layer),
        _image_or(ops, layer, area),
        ops.stored(layer, area),
        units=(2, 4, _unit(ops, layer)),
        fused=("e5_stat",) if ops.of_batch(layer) else (),
        columns=layer.kind == "conv",
    )


def _image_or(ops: Operands, layer: Layer, area: int) -> Side:
    """The input of a product: a map, or what is behind the unfolded columns."""
    stream, step = ops.input(layer, area)
    if layer.kind != "conv":
        return Side((stream,), step)
    share = column_share(layer)
    return Side((dataclasses.replace(stream, share=share),), step, share=share)


def column_share(layer: Layer) -> float:
    """Elements of a convolution's input per element of its columns."""
    return layer.in_elements / (pixels(layer) * layer.fan_in)


def _unit(ops: Operands, layer: Layer) -> int:
    """Pixels that blocks are multiples of: whole planes of latents and of vectors, else sixteen."""
    area = pixels(layer)
    if area > ROW_PIXELS and area % ROW_PIXELS == 0:
        whole = layer.index == ops.setting.latent_layer or ops.pooled(layer)
        return area if whole and area <= 256 else ROW_PIXELS
    return area if area <= 64 else 4


def _gradients(ops: Operands, layer: Layer, stored: bool) -> list[Blockwise]:
    """Weight gradient with SGD, and input gradient, of a product."""
    weights = Blockwise.of(layer, "weight gradient", weight_gradient(ops, layer, stored))
    below = ops.source(layer)
    if below is None:
        return [weights]
    inputs = input_gradient(ops, layer, below, stored)
    # The input gradient takes the weights before SGD has changed them.
    return [Blockwise.of(layer, "input gradient", inputs), weights]


def weight_gradient(ops: Operands, layer: Layer, stored: bool) -> BlockedProduct:
    """DW = dz x^T over the whole mini-batch, and SGD where it stands."""
    samples, area = ops.setting.samples_per_minibatch, pixels(layer)
    return BlockedProduct(
        "p2a_2x4",
        layer.out_channels,
        samples * area,
        -(-layer.fan_in // 4) * 4,
        Side(*ops.gradient(layer, area, stored=stored)),
        _image_or(ops, layer, area),
        ops.updated(layer),
        layout=("n", "m"),
        units=(2, _unit(ops, layer), 4),
        columns=layer.kind == "conv",
    )


def input_gradient(ops: Operands, layer: Layer, below: Layer, stored: bool) -> BlockedProduct:
    """Dx = W^T dz, masked by the layer below, whose sums it gives; columns are added up first."""
    samples, area = ops.setting.samples_per_minibatch, pixels(layer)
    rows, unit, leaving = layer.in_channels, (2, 4, _unit(ops, layer)), None
    if layer.kind == "conv":
        rows, share = layer.fan_in, column_share(layer)
        leaving = ops.leaving(layer, max(1, round(area * share)), below)
        leaving = ops.folded(leaving, share)
        # Whole windows over whole planes, so that what overlaps stands together.
        unit = (layer.fan_in // layer.in_channels, 4, area)
    return BlockedProduct(
        "p3_2x4",
        rows,
        layer.out_channels,
        samples * area,
        ops.weights(layer),
        Side(*ops.gradient(layer, area, stored=stored)),
        leaving or ops.leaving(layer, area, below),
        layout=("k", "k"),
        units=unit,
    )


def _linear(ops: Operands, last: Layer, pooled: bool) -> list[Blockwise]:
    """Pooling, the linear layer over the whole mini-batch, the loss, and their gradients."""
    samples = ops.setting.samples_per_minibatch
    columns = -(-samples // 4) * 4
    found = list[Blockwise]()
    if pooled:
        below = ops.setting.network.layers[-2]
        found.append(Blockwise.of(last, "pool", joins.global_pool(ops, below)))
        vectors = Side((Stream("pooled"),))
    else:
        vectors = Side((ops.codes(),), ops.decode(last.in_channels))
    rows, inner = last.out_channels, last.in_channels
    logits = Stream("logits", resident=True)
    slopes = Side((Stream("logit gradients", resident=True),))
    forward_ = BlockedProduct(
        "p1_2x4" if pooled else "p2_2x4",
        rows,
        inner,
        columns,
        ops.weights(last),
        vectors,
        Side(writes=(logits,)),
        layout=("n", "k" if pooled else "m"),
    )
    found.append(Blockwise.of(last, "forward", forward_))
    turned = (Operand(1, padded=True), Operand(1, write=True, padded=True))
    loss = Planes(1, rows, (Call("e8_smx", "vector", rows),), turned, 1, split_rows=False)
    found.append(
        Blockwise.of(last, "loss", BlockedPlanes(1, samples, (), (), (), (Stage(windows=loss),)))
    )
    weights = BlockedProduct(
        "p2a_2x4" if pooled else "p1_2x4",
        rows,
        columns,
        -(-inner // 4) * 4,
        slopes,
        vectors,
        ops.updated(last),
        layout=("n", "m" if pooled else "k"),
    )
    inputs = BlockedProduct(
        "p3_2x4",
        inner,
        rows,
        columns,
        ops.weights(last),
        slopes,
        Side(writes=(Stream("pooled gradient"),)),
        layout=("k", "k"),
    )
    # The input gradient takes the weights before SGD has changed them.
    if pooled and ops.setting.train_layers:
        found.append(Blockwise.of(last, "input gradient", inputs))
    return [*found, Blockwise.of(last, "weight gradient", weights)]
