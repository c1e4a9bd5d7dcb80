"""The blocked schedule: a mini-batch layer by layer, in blocks of two levels.

forward   z_i = W_i x_i, x_i = relu(a z_(i-1) + b) made when a block arrives; sums of z_i and
          z_i^2 by the producer; the codes of latents are decoded when they arrive
pooling   one vector a sample; the linear layer is one product over the mini-batch
backward  dW_i adds up on chip over the whole mini-batch and SGD is applied to it there;
          dy_(i-1) is masked and summed by its producer; dz_i is made when dy_i and z_i arrive,
          or stored once, whichever costs fewer joules; a depthwise layer does both gradients
          in one pass
"""

import dataclasses
from collections.abc import Callable

from pulpsim.cost.blocked_planes import BlockedPlanes, Stage
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Step, Stream
from pulpsim.cost.planes import Call, Flat, Operand, Planes
from pulpsim.cost.sides import Side
from pulpsim.event import layers
from pulpsim.event.layers import StepName
from pulpsim.event.operands import Operands
from pulpsim.event.setting import EventSetting
from qlrjax.network import Layer

ROW_PIXELS = 16  # the shortest piece of a channel that is fetched: 64 bytes in FP32
VECTOR_WORDS = 40  # a normalised channel: parameters, momentum, statistics, sums, scales; r and w


@dataclasses.dataclass(frozen=True)
class Blockwise:
    """A pass of the blocked schedule; `instead` replaces it and those that follow it.

    Attributes:
        layer: Index of the layer.
        name: Of the layer.
        step: Which part of the event.
        work: The pass.
    """

    layer: int
    name: str
    step: StepName
    work: BlockedProduct | BlockedPlanes | Flat


Choice = Callable[[list[list[Blockwise]]], list[Blockwise]]


def minibatch(setting: EventSetting, choose: Choice) -> list[Blockwise]:
    """All passes of one mini-batch.

    Args:
        setting: The event.
        choose: Takes one of several ways to do the same.
    """
    *normalised, last = setting.network.adaptive(setting.latent_layer)
    ops, found = Operands(setting), list[Blockwise]()
    for row in normalised:
        found.append(_of(row, "forward", forward(ops, row)))
    found += _linear(ops, last, bool(normalised))
    for row in reversed(normalised if setting.train_layers else ()):
        if ops.pooled(row):
            found.append(_of(row, "norm sums", pool_sums(ops, row)))
        if row.kind == "depthwise":
            found.append(_of(row, "both gradients", depthwise_back(ops, row)))
            continue
        ways = [_back(ops, row, stored=False)]
        if ops.whole and not ops.pooled(row):
            store = _of(row, "norm gradient", store_gradient(ops, row))
            ways.append([store, *_back(ops, row, stored=True)])
        found += choose(ways)
    channels = sum(row.out_channels for row in normalised)
    if channels and setting.train_layers:
        words = 4.0 * VECTOR_WORDS / 2
        flat = Flat(
            ("e1_sgd",), 2 * channels, (("external", words / 2),), (("external", words / 2),)
        )
        found.append(Blockwise(-1, "norm parameters", "update", flat))
    return found


def _of(layer: Layer, step: StepName, work: BlockedProduct | BlockedPlanes) -> Blockwise:
    return Blockwise(layer.index, layer.name, step, work)


def pixels(layer: Layer) -> int:
    """Pixels of an output plane."""
    return layer.out_hw[0] * layer.out_hw[1]


def forward(ops: Operands, layer: Layer) -> BlockedProduct | BlockedPlanes:
    """Raw output of a trained layer, and its sums."""
    samples, area = ops.setting.samples_per_minibatch, pixels(layer)
    if layer.kind == "depthwise":
        return depthwise_forward(ops, layer)
    return BlockedProduct(
        "p1_2x4",
        layer.out_channels,
        layer.fan_in,
        samples * area,
        ops.weights(layer),
        _image_or(ops, layer, area),
        ops.stored(layer, area),
        units=(2, 4, _unit(ops, layer)),
        fused=("e5_stat",) if ops.whole else (),
        columns=layer.kind == "conv",
    )


def _image_or(ops: Operands, layer: Layer, area: int) -> Side:
    """The input of a product: a map, or the images behind the unfolded columns."""
    stream, step = ops.input(layer, area)
    if layer.kind != "conv":
        return Side((stream,), step)
    share = layer.in_channels * layer.stride**2 / layer.fan_in
    return Side((dataclasses.replace(stream, share=share),), step, share=share)


def _unit(ops: Operands, layer: Layer) -> int:
    """Pixels that blocks are multiples of: whole planes of latents and of vectors, else sixteen."""
    area = pixels(layer)
    if area > ROW_PIXELS and area % ROW_PIXELS == 0:
        whole = layer.index == ops.setting.latent_layer or ops.pooled(layer)
        return area if whole and area <= 256 else ROW_PIXELS
    return area if area <= 64 else 4


def depthwise_forward(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Raw output of a depthwise layer, and its sums."""
    samples, (height, width) = ops.setting.samples_per_minibatch, layer.out_hw
    incoming, outgoing = _area(layer.in_hw), _area(layer.out_hw)
    stream, step = ops.input(layer, layer.in_hw[1], apart=True)
    calls = (layers.window(layer, {1: "d1_col", 2: "d1s_col"}),)
    if ops.whole:
        calls = (*calls, Call("e5_stat", "pixels", width))
    calls = (*calls, *ops.written_calls(width))
    target = Operand(width, ops.setting.map_bytes, write=True, apart=True)
    operands = (layers.padded_input(layer, "l2"), layers.taps("l2"), target)
    windows = Planes(1, height, calls, operands, 1, layer.macs // layer.out_channels)
    return BlockedPlanes(
        layer.out_channels,
        samples,
        (dataclasses.replace(stream, share=incoming),),
        (ops.map("z", layer, outgoing),),
        ((f"x {layer.index}, padded", padded_area(layer)),),
        (Stage(step, _area(layer.in_hw)), Stage(windows=windows)),
        ended_elements=9,
        ended_moves=(Stream(f"weights {layer.index}"),),
    )


def _area(hw: tuple[int, int]) -> int:
    return hw[0] * hw[1]


def padded_area(layer: Layer) -> int:
    """Elements of a padded input plane."""
    (top, low), (left, right) = layer.padding
    return (layer.in_hw[0] + top + low) * (layer.in_hw[1] + left + right)


def depthwise_back(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Both gradients of a depthwise layer, SGD on its taps, and the sums of the layer below."""
    samples, height = ops.setting.samples_per_minibatch, layer.out_hw[0]
    incoming, outgoing = _area(layer.in_hw), _area(layer.out_hw)
    streams, dz = ops.gradient(layer, layer.out_hw[1], apart=True)
    stream, x = ops.input(layer, layer.in_hw[1], apart=True)
    macs = layer.macs // layer.out_channels
    call = layers.window(layer, {1: "d2a_wgrad", 2: "d2sa_wgrad"})
    around = Operand(layer.out_hw[1] + 2, scale=1, halo=2)
    both = (layers.taps("l2"), dataclasses.replace(layers.taps("l2"), write=True))
    operands = (layers.padded_input(layer, "l2"), around, *both)
    stages = [
        Stage(dz, outgoing),
        Stage(x, incoming),
        Stage(windows=Planes(1, height, (call,), operands, 1, macs)),
    ]
    held = [
        (f"dz {layer.index}, padded", (layer.out_hw[0] + 2) * (layer.out_hw[1] + 2)),
        (f"x {layer.index}, padded", padded_area(layer)),
    ]
    writes: tuple[Stream, ...] = ()
    if layer.index > ops.setting.latent_layer:
        stages.append(Stage(windows=_input_gradient(layer)))
        side = ops.masked(layer, layer.in_hw[1])
        stages.append(Stage(side.step, incoming))
        writes = tuple(dataclasses.replace(one, share=incoming) for one in side.writes)
        held.append((f"dx {layer.index}", incoming))
    sgd = ops.updated(layer)
    return BlockedPlanes(
        layer.out_channels,
        samples,
        (
            *(dataclasses.replace(one, share=one.share * outgoing) for one in streams),
            dataclasses.replace(stream, share=incoming),
        ),
        writes,
        tuple(held),
        tuple(stages),
        sgd.step,
        9,
        (*sgd.reads, *sgd.writes),
    )


def _input_gradient(layer: Layer) -> Planes:
    work = layers.input_gradient(layer, 1, layers.Places())
    assert isinstance(work, Planes)
    operands = tuple(
        dataclasses.replace(one, apart=True) if one.write else one for one in work.operands
    )
    macs = layer.macs // layer.out_channels
    return dataclasses.replace(work, channels=1, operands=operands, macs=macs)


def store_gradient(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Stores dz of a layer, where it would be made too often."""
    area = pixels(layer)
    streams, step = ops.gradient(layer, area)
    assert step is not None
    calls = (*step.calls, *ops.written_calls(area))
    step = dataclasses.replace(step, calls=calls, writes=(float(ops.setting.map_bytes),))
    reads = tuple(dataclasses.replace(one, share=one.share * area) for one in streams)
    samples = ops.setting.samples_per_minibatch
    writes = (ops.map("dz", layer, area),)
    return BlockedPlanes(layer.out_channels, samples, reads, writes, (), (Stage(step, area),))


def _back(ops: Operands, layer: Layer, stored: bool) -> list[Blockwise]:
    """Weight gradient with SGD, and input gradient, of a pointwise layer or the convolution."""
    weights = _of(layer, "weight gradient", weight_gradient(ops, layer, stored))
    if layer.index == ops.setting.latent_layer:
        return [weights]
    # The input gradient takes the weights before SGD has changed them.
    return [_of(layer, "input gradient", input_gradient(ops, layer, stored)), weights]


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


def input_gradient(ops: Operands, layer: Layer, stored: bool) -> BlockedProduct:
    """Dx = W^T dz, masked by the layer below, whose sums it gives."""
    samples, area = ops.setting.samples_per_minibatch, pixels(layer)
    return BlockedProduct(
        "p3_2x4",
        layer.in_channels,
        layer.out_channels,
        samples * area,
        ops.weights(layer),
        Side(*ops.gradient(layer, area, stored=stored)),
        ops.masked(layer, area),
        layout=("k", "k"),
        units=(2, 4, _unit(ops, layer)),
    )


def pool_sums(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Sums of the gradient that comes down through the pooling; nothing else of it is stored."""
    area, samples = pixels(layer), ops.setting.samples_per_minibatch
    streams, step = ops.gradient(layer, area)
    assert step is not None
    calls = (*step.calls[:-1], Call("e6a_bnsum", "pixels", area))
    step = dataclasses.replace(step, calls=calls, writes=())
    reads = tuple(dataclasses.replace(one, share=one.share * area) for one in streams)
    return BlockedPlanes(layer.out_channels, samples, reads, (), (), (Stage(step, area),))


def _linear(ops: Operands, last: Layer, pooled: bool) -> list[Blockwise]:
    """Pooling, the linear layer over the whole mini-batch, the loss, and their gradients."""
    samples = ops.setting.samples_per_minibatch
    columns = -(-samples // 4) * 4
    found = list[Blockwise]()
    if pooled:
        found.append(_of(last, "pool", pool(ops, ops.before(last))))
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
    found.append(_of(last, "forward", forward_))
    turned = (Operand(1, padded=True), Operand(1, write=True, padded=True))
    loss = Planes(1, rows, (Call("e8_smx", "vector", rows),), turned, 1, split_rows=False)
    found.append(_of(last, "loss", BlockedPlanes(1, samples, (), (), (), (Stage(windows=loss),))))
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
        found.append(_of(last, "input gradient", inputs))
    return [*found, _of(last, "weight gradient", weights)]


def pool(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Normalises, rectifies and averages the last map."""
    area, samples = pixels(layer), ops.setting.samples_per_minibatch
    before = ops.normalise(area)
    calls = (*before.calls, Call("e7_gapf", "each", area))
    step = Step(calls, before.reads, (4.0 / area,), scratch_bytes=5.0, unit=area)
    reads, writes = (ops.map("z", layer, area),), (Stream("pooled", 4.0, 1.0),)
    return BlockedPlanes(layer.out_channels, samples, reads, writes, (), (Stage(step, area),))
