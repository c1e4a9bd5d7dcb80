"""Passes of the blocked schedule that are no products: adds, poolings, sums and stored gradients.

Poolings over windows are composed of programs that are there: their forward pass takes a window for
an item of the global mean's, which reads and combines every element once as a maximum does; their
backward pass finds the place again, masks and adds, an element of a window each.
"""

import dataclasses

from pulpsim.cost.blocked_planes import BlockedPlanes, Stage
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Step, Stream
from pulpsim.cost.planes import Call, Flat, Operand, Planes
from pulpsim.event.layers import StepName
from pulpsim.event.operands import Operands
from qlrjax.network import Layer


@dataclasses.dataclass(frozen=True)
class Blockwise:
    """A pass of the blocked schedule.

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

    @staticmethod
    def of(layer: Layer, step: StepName, work: BlockedProduct | BlockedPlanes) -> "Blockwise":
        """A pass of a layer."""
        return Blockwise(layer.index, layer.name, step, work)


def area_of(hw: tuple[int, int]) -> int:
    """Pixels of a plane."""
    return hw[0] * hw[1]


def whole_planes(streams: tuple[Stream, ...], area: int) -> tuple[Stream, ...]:
    """Streams of a pass over planes: elements of a plane instead of elements of an element."""
    return tuple(dataclasses.replace(one, share=one.share * area) for one in streams)


def add(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Sum of two outputs, and its activation."""
    area, size = area_of(layer.out_hw), ops.setting.map_bytes
    stages, reads, held = list[Stage](), list[Stream](), list[tuple[str, int | float]]()
    for number in range(2):
        stream, step = ops.input(layer, area, number=number)
        reads.append(dataclasses.replace(stream, share=area))
        if step is not None:
            stages.append(Stage(step, area))
            held.append((f"input {number} of {layer.index}", area))
    relu = ops.relu(layer, area)
    calls = (Call("e11_add", "elements", area), *relu, *ops.written_calls(area))
    stages.append(Stage(Step(calls, (4.0, 4.0), (size,), 1.0 if relu else 0.0, area), area))
    samples, writes = ops.setting.samples_per_minibatch, (ops.map("y", layer, area),)
    return BlockedPlanes(
        layer.out_channels, samples, tuple(reads), writes, tuple(held), tuple(stages)
    )


def add_back(ops: Operands, layer: Layer) -> list[Blockwise]:
    """What an add's gradient costs on its way to the inputs: nothing, sums, or a pass."""
    area, found = area_of(layer.out_hw), list[Blockwise]()
    samples, size = ops.setting.samples_per_minibatch, ops.setting.map_bytes
    own = ops.slope(layer)
    for below in dict.fromkeys(ops.source(layer, number) for number in range(2)):
        if below is None:
            continue
        if ops.shared_with(below):
            if below.has_weights:
                calls = (*ops.read_calls(area, 2), *ops.sums(below, area))
                step = Step(calls, (size, size), (), unit=area)
                reads = whole_planes((own, ops.map("z", below)), area)
                sums = BlockedPlanes(
                    below.out_channels, samples, reads, (), (), (Stage(step, area),)
                )
                found.append(Blockwise.of(below, "norm sums", sums))
            continue
        takers = ops.takers(below)
        if layer is takers[0] and len(takers) > 1:
            continue  # the first part, under the add's own name
        side = ops.leaving(layer, area, below, made=size)
        assert side.step is not None
        step = dataclasses.replace(side.step, calls=(*ops.read_calls(area), *side.step.calls))
        work = BlockedPlanes(
            below.out_channels,
            samples,
            whole_planes((own, *side.reads), area),
            whole_planes(side.writes, area),
            (),
            (Stage(step, area),),
        )
        found.append(Blockwise.of(layer, "add gradient", work))
    return found


def window_pool(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Maximum or mean of windows."""
    samples, incoming = ops.setting.samples_per_minibatch, area_of(layer.in_hw)
    outgoing, size = area_of(layer.out_hw), ops.setting.map_bytes
    stream, step = ops.input(layer, incoming)
    stages = [Stage(step, incoming)] if step is not None else []
    window = area_of(layer.kernel_hw)
    calls = (Call("e7_gapf", "each", window), *ops.relu(layer, 1), *ops.written_calls(1))
    operands = (Operand(incoming / outgoing), Operand(1, size, write=True))
    stages.append(Stage(windows=Planes(1, outgoing, calls, operands)))
    return BlockedPlanes(
        layer.out_channels,
        samples,
        whole_planes((stream,), incoming),
        (ops.map("y", layer, outgoing),),
        ((f"x {layer.index}", incoming),) if step is not None else (),
        tuple(stages),
    )


def window_pool_back(ops: Operands, layer: Layer) -> list[Blockwise]:
    """The gradient of the input of a pooling over windows."""
    below = ops.source(layer)
    if below is None:
        return []
    samples, incoming = ops.setting.samples_per_minibatch, area_of(layer.in_hw)
    outgoing, window = area_of(layer.out_hw), area_of(layer.kernel_hw)
    reads, stages = [dataclasses.replace(ops.slope(layer), share=outgoing)], list[Stage]()
    found = [Call("e7_gapb", "each", window), Call("e11_add", "elements", window)]
    if layer.kind == "max_pool":
        stream, step = ops.input(layer, incoming)
        reads.append(dataclasses.replace(stream, share=incoming))
        stages += [Stage(step, incoming)] if step is not None else []
        found += [Call("e7_gapf", "each", window), Call("e3_bwd", "elements", window)]
    share = incoming / outgoing
    operands = (Operand(1), Operand(share), Operand(share, write=True))
    stages.append(Stage(windows=Planes(1, outgoing, tuple(found), operands)))
    side = ops.leaving(layer, incoming, below)
    if side.step is not None:
        stages.append(Stage(side.step, incoming))
    there = {one.name for one in reads}
    others = tuple(one for one in side.reads if one.name not in there)
    work = BlockedPlanes(
        layer.out_channels,
        samples,
        (*reads, *whole_planes(others, incoming)),
        whole_planes(side.writes, incoming),
        ((f"x {layer.index}", incoming), (f"dx {layer.index}", incoming)),
        tuple(stages),
    )
    return [Blockwise.of(layer, "window pool gradient", work)]


def global_pool(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Averages the last map, normalised and rectified if it is a raw output."""
    area, samples = area_of(layer.out_hw), ops.setting.samples_per_minibatch
    before = Step(ops.read_calls(area), (ops.setting.map_bytes,), (4.0,))
    if layer.has_weights:
        before = ops.normalise(layer, area)
    calls = (*before.calls, Call("e7_gapf", "each", area))
    step = Step(calls, before.reads, (4.0 / area,), scratch_bytes=5.0, unit=area)
    reads = (ops.map("z" if layer.has_weights else "y", layer, area),)
    writes = (Stream("pooled", 4.0, 1.0),)
    return BlockedPlanes(layer.out_channels, samples, reads, writes, (), (Stage(step, area),))


def global_pool_back(ops: Operands, layer: Layer) -> list[Blockwise]:
    """Sums of the gradient that comes down through the last pooling.

    Of a raw output nothing else is stored: it is spread again whenever it is read. Below an add or
    another pooling it is spread once, and stored.
    """
    area, samples = area_of(layer.out_hw), ops.setting.samples_per_minibatch
    size = ops.setting.map_bytes
    if layer.has_weights:
        streams, step = ops.gradient(layer, area)
        assert step is not None
        kept = step.calls[:-1] if layer.batch_norm else step.calls
        step = dataclasses.replace(step, calls=(*kept, *ops.sums(layer, area)), writes=())
        reads = whole_planes(streams, area)
        work = BlockedPlanes(layer.out_channels, samples, reads, (), (), (Stage(step, area),))
        return [Blockwise.of(layer, "norm sums", work)]
    mask = layer.activation != "none"
    calls = (Call("e7_gapb", "each", area), *ops.mask(layer, area), *ops.written_calls(area))
    step = Step(
        calls, (4.0 / area, *((size,) if mask else ())), (size,), 5.0 if mask else 0.0, area
    )
    reads = (Stream("pooled gradient"), *((ops.map("y", layer, area),) if mask else ()))
    writes = (ops.map("dy", layer, area),)
    work = BlockedPlanes(layer.out_channels, samples, reads, writes, (), (Stage(step, area),))
    return [Blockwise.of(layer, "pool gradient", work)]


def store_gradient(ops: Operands, layer: Layer) -> BlockedPlanes:
    """Stores dz of a layer, where it would be made too often."""
    area = area_of(layer.out_hw)
    streams, step = ops.gradient(layer, area)
    assert step is not None
    calls = (*step.calls, *ops.written_calls(area))
    step = dataclasses.replace(step, calls=calls, writes=(float(ops.setting.map_bytes),))
    samples, reads = ops.setting.samples_per_minibatch, whole_planes(streams, area)
    writes = (ops.map("dz", layer, area),)
    return BlockedPlanes(layer.out_channels, samples, reads, writes, (), (Stage(step, area),))
