"""The depthwise layers of the blocked schedule: padded planes, all gradients in one pass."""

import dataclasses

from pulpsim.cost.blocked_planes import BlockedPlanes, Stage
from pulpsim.cost.blocks import Stream
from pulpsim.cost.planes import Call, Operand, Planes
from pulpsim.event import layers
from pulpsim.event.operands import Operands
from qlrjax.network import Layer


def forward(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Raw output of a depthwise layer, and its sums."""
    samples, (height, width) = ops.setting.samples_per_minibatch, layer.out_hw
    incoming, outgoing = _area(layer.in_hw), _area(layer.out_hw)
    stream, step = ops.input(layer, layer.in_hw[1], apart=True)
    calls = (layers.window(layer, "forward"),)
    if ops.of_batch(layer):
        calls = (*calls, Call("e5_stat", "pixels", width))
    calls = (*calls, *ops.written_calls(width))
    target = Operand(width, ops.setting.map_bytes, write=True, apart=True)
    operands = (layers.padded_input(layer, "l2"), layers.taps(layer, "l2"), target)
    windows = Planes(1, height, calls, operands, 1, layer.macs // layer.out_channels)
    return BlockedPlanes(
        layer.out_channels,
        samples,
        (dataclasses.replace(stream, share=incoming),),
        (ops.map("z", layer, outgoing),),
        ((f"x {layer.index}, padded", padded_area(layer)),),
        (*((Stage(step, incoming),) if step is not None else ()), Stage(windows=windows)),
        ended_elements=layer.fan_in,
        ended_moves=(Stream(f"weights {layer.index}"),),
    )


def _area(hw: tuple[int, int]) -> int:
    return hw[0] * hw[1]


def padded_area(layer: Layer) -> int:
    """Elements of a padded input plane."""
    (top, low), (left, right) = layer.padding
    return (layer.in_hw[0] + top + low) * (layer.in_hw[1] + left + right)


def both_gradients(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Both gradients of a depthwise layer, SGD on its taps, and the sums of the layer below."""
    samples, height = ops.setting.samples_per_minibatch, layer.out_hw[0]
    incoming, outgoing = _area(layer.in_hw), _area(layer.out_hw)
    streams, dz = ops.gradient(layer, layer.out_hw[1], apart=True)
    stream, x = ops.input(layer, layer.in_hw[1], apart=True)
    macs = layer.macs // layer.out_channels
    call = layers.window(layer, "weight gradient")
    # 3x3 programs gather the input gradient from padded planes, 5x5 ones scatter into them.
    halo = 2 if layer.kernel == 3 else 0
    around = Operand(layer.out_hw[1] + halo, scale=1, halo=halo)
    taps = layers.taps(layer, "l2")
    both = (taps, dataclasses.replace(taps, write=True))
    operands = (layers.padded_input(layer, "l2"), around, *both)
    stages = [
        *((Stage(dz, outgoing),) if dz is not None else ()),
        *((Stage(x, incoming),) if x is not None else ()),
        Stage(windows=Planes(1, height, (call,), operands, 1, macs)),
    ]
    held = [
        (f"dz {layer.index}, padded", (layer.out_hw[0] + halo) * (layer.out_hw[1] + halo)),
        (f"x {layer.index}, padded", padded_area(layer)),
    ]
    writes: tuple[Stream, ...] = ()
    parts = (dataclasses.replace(stream, share=incoming),)
    below = ops.source(layer)
    if below is not None:
        stages.append(Stage(windows=_input_gradient(layer)))
        side = ops.leaving(layer, layer.in_hw[1], below)
        if side.step is not None:
            stages.append(Stage(side.step, incoming))
        # What masks is the input, which is there.
        parts += tuple(
            dataclasses.replace(one, share=incoming)
            for one in side.reads
            if one.name != stream.name
        )
        writes = tuple(dataclasses.replace(one, share=incoming) for one in side.writes)
        dx = incoming if layer.kernel == 3 else padded_area(layer)
        held.append((f"dx {layer.index}", dx))
    sgd = ops.updated(layer)
    return BlockedPlanes(
        layer.out_channels,
        samples,
        (
            *(dataclasses.replace(one, share=one.share * outgoing) for one in streams),
            *parts,
        ),
        writes,
        tuple(held),
        tuple(stages),
        sgd.step,
        layer.fan_in,
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
