"""What the passes of the blocked schedule read and write, and how it becomes FP32 on the way.

Only raw convolution outputs z, outputs y of adds and poolings, masked gradients dy and packed codes
are stored. A layer's input is normalised and rectified when a block of z arrives; a gradient dz
goes through the normalisation when blocks of dy and z arrive (under running statistics it is scaled
by its producer and stored; without batch norm it is the masked gradient). Above the last pooling
nothing but a vector a sample is stored: its gradient is spread over the planes as they are read.

An output that several layers take gets its gradient in parts, the uppermost first: each adds what
is there to its own, and the last one masks and sums. An add moves nothing: its gradient is that of
both inputs, under its own name, until something is added to it or masked.
"""

import dataclasses
import math

from pulpsim.cost.blocks import Step, Stream
from pulpsim.cost.planes import Call
from pulpsim.cost.sides import Side
from pulpsim.event.setting import FLOAT_BITS, EventSetting
from qlrjax.network import Layer


@dataclasses.dataclass(frozen=True)
class Operands:
    """Streams and steps of an event's layers."""

    setting: EventSetting

    @property
    def whole(self) -> bool:
        """Whether the mini-batch's own statistics normalise."""
        return self.setting.statistics == "minibatch"

    def of_batch(self, layer: Layer) -> bool:
        """Whether the mini-batch's own statistics normalise this layer."""
        return self.whole and layer.batch_norm

    def relu(self, layer: Layer, unit: int) -> tuple[Call, ...]:
        """The activation of a layer, if it has one."""
        kernel = {"relu6": "e10_relu6", "relu": "e3_fwd"}.get(layer.activation)
        return (Call(kernel, "elements", unit),) if kernel else ()

    def source(self, layer: Layer, number: int = 0) -> Layer | None:
        """The trained layer whose output an input is; None for the latents."""
        name = layer.inputs[number]
        found = (row for row in self.setting.network.layers if row.name == name)
        below = next(found, None)
        return None if below is None or below.index < self.setting.latent_layer else below

    def takers(self, layer: Layer) -> list[Layer]:
        """Layers that take this one's output, the uppermost first: in the order of gradients."""
        above = self.setting.network.layers[layer.index + 1 :]
        return [row for row in reversed(above) for one in row.inputs if one == layer.name]

    def map(self, letter: str, layer: Layer, share: int | float = 1.0) -> Stream:
        """A stored map: z, y, dy or dz of a layer."""
        return Stream(f"{letter} {layer.index}", self.setting.map_bytes, share)

    @property
    def up(self) -> str | None:
        """Kernel that makes stored maps FP32, if they are not."""
        return "h1_up" if self.setting.maps == "float16" else None

    def read_calls(self, unit: int, times: int = 1) -> tuple[Call, ...]:
        """What runs over maps when they arrive."""
        return (Call("h1_up", "elements", unit),) * times if self.up else ()

    def written_calls(self, unit: int) -> tuple[Call, ...]:
        """What runs over a map before it leaves."""
        return (Call("h1_down", "elements", unit),) if self.up else ()

    def codes(self, share: int | float = 1.0) -> Stream:
        """Latents of the mini-batch, new and replayed, as they are stored."""
        return Stream("latent codes", self.setting.bits / 8, share, by_sample=True)

    def decode(self, unit: int) -> Step:
        """Codes to FP32; latents in FP32 are copied into place."""
        bits = self.setting.bits
        if bits == FLOAT_BITS:
            return Step((), (4.0,), (4.0,), unit=unit, apart=True)
        kernel = "e2_trick" if bits == 8 else f"e9_unp{bits}"
        call = Call(kernel, "elements", unit)
        return Step((call,), (bits / 8,), (4.0,), unit=unit, apart=True)

    def normalise(self, layer: Layer, unit: int, apart: bool = False) -> Step:
        """A layer's raw output to its activation; a ReLU's mask stays in L1."""
        relu = self.relu(layer, unit)
        calls = (*self.read_calls(unit), Call("e4_bn", "pixels", unit), *relu)
        mask = 1.0 if relu else 0.0
        return Step(calls, (self.setting.map_bytes,), (4.0,), mask, unit, apart)

    def input(
        self, layer: Layer, unit: int, apart: bool = False, number: int = 0
    ) -> tuple[Stream, Step | None]:
        """Input of a trained layer; `share` is 1: per element."""
        below = self.source(layer, number)
        if below is None:
            return self.codes(), dataclasses.replace(self.decode(unit), apart=True)
        if below.has_weights:
            return self.map("z", below), self.normalise(below, unit, apart)
        return self.map("y", below), self._copy(unit) if apart or self.up else None

    def gradient(
        self, layer: Layer, unit: int, apart: bool = False, stored: bool = False
    ) -> tuple[tuple[Stream, ...], Step | None]:
        """Gradient dz of a layer's raw output.

        Args:
            layer: A layer with weights.
            unit: Elements of a row.
            apart: Its rows are written into padded planes.
            stored: dz itself is stored.
        """
        size = self.setting.map_bytes
        if self.pooled(layer):
            unit = layer.out_hw[0] * layer.out_hw[1]
            through = "e6b_bnbwd" if self.of_batch(layer) else "e4_bn"
            calls = (
                Call("e7_gapb", "each", unit),
                *self.mask(layer, unit),
                *((Call(through, "pixels", unit),) if layer.batch_norm else ()),
            )
            streams = (self.map("z", layer), Stream("pooled gradient", 4.0, 1.0 / unit))
            return streams, Step(calls, (size, 4.0 / unit), (4.0,), 9.0, unit, apart)
        if stored or not self.of_batch(layer):
            step = self._copy(unit) if apart or self.up else None
            return (self.map("dz", layer) if stored else self.slope(layer),), step
        calls = (*self.read_calls(unit, 2), Call("e6b_bnbwd", "pixels", unit))
        streams = (self.slope(layer), self.map("z", layer))
        return streams, Step(calls, (size, size), (4.0,), unit=unit, apart=apart)

    def slope(self, layer: Layer) -> Stream:
        """The stored gradient of a layer's output, maybe under the name of the add above it."""
        above = self.shared_with(layer)
        return self.slope(above) if above else self.map(self._letter(layer), layer)

    def shared_with(self, layer: Layer) -> Layer | None:
        """An add whose gradient is this layer's as it is: nothing masks, scales or adds to it."""
        takers = self.takers(layer)
        scaled = layer.batch_norm and not self.whole
        if len(takers) == 1 and takers[0].kind == "add":
            return takers[0] if layer.activation == "none" and not scaled else None
        return None

    def _letter(self, layer: Layer) -> str:
        return "dz" if layer.has_weights and not self.of_batch(layer) else "dy"

    def leaving(self, layer: Layer, unit: int, below: Layer, made: float = 4.0) -> Side:
        """A part of the gradient of `below` that `layer` gives, on its way out.

        Args:
            layer: One that takes the output of `below`.
            unit: Elements of a row.
            below: Whose output's gradient it is.
            made: Bytes an element of the part as it is made.
        """
        size = self.setting.map_bytes
        takers = self.takers(below)
        first, last = layer is takers[0], layer is takers[-1]
        reads, calls = list[Stream](), list[Call]()
        if not first:
            alone = takers[0].kind == "add" and layer is takers[1]
            reads.append(self.slope(takers[0]) if alone else self.map("dy", below))
            calls += [*self.read_calls(unit), Call("e11_add", "elements", unit)]
        scratch = 0.0
        if last:
            if below.has_weights or below.activation != "none":
                reads.append(self.map("z" if below.has_weights else "y", below))
                calls += self.mask(below, unit)
                scratch = 5.0
            calls += self.sums(below, unit)
            if below.batch_norm and not self.whole:
                calls.append(Call("e4_bn", "pixels", unit))
        calls += self.written_calls(unit)
        step = None
        if calls:
            read = (made, *(size for _ in reads))
            step = Step(tuple(calls), read, (size,), scratch_bytes=scratch, unit=unit)
        letter = self._letter(below) if last else "dy"
        return Side(tuple(reads), step, (self.map(letter, below),))

    def sums(self, layer: Layer, unit: int) -> tuple[Call, ...]:
        """Sums of a gradient and of its product with z; of the first alone for a bias."""
        return (Call("e6a_bnsum", "pixels", unit),) if layer.has_weights else ()

    def folded(self, side: Side, share: float) -> Side:
        """A gradient of columns on its way out: `share` elements of the input an element.

        What columns have in common is added up first, an add an element of them.
        """

        def scaled(streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
            return tuple(dataclasses.replace(one, share=one.share * share) for one in streams)

        step = side.step or Step((), (4.0,), (self.setting.map_bytes,))
        fold = Call("e11_add", "elements", math.ceil(step.unit / share))
        read = (step.reads[0] / share, *step.reads[1:])
        step = dataclasses.replace(step, calls=(fold, *step.calls), reads=read)
        return Side(scaled(side.reads), step, scaled(side.writes), share=share)

    def stored(self, layer: Layer, unit: int) -> Side:
        """A raw output on its way out, rounded first where maps are narrower."""
        size = self.setting.map_bytes
        step = Step(self.written_calls(unit), (4.0,), (size,), unit=unit) if self.up else None
        return Side(step=step, writes=(self.map("z", layer),))

    def pooled(self, layer: Layer) -> bool:
        """Whether the last pooling follows a layer with weights."""
        return layer.index == self.setting.network.last - 1 and layer.has_weights

    def updated(self, layer: Layer) -> Side:
        """A weight gradient: it stays where it added up until SGD has been applied to it."""
        step = Step((Call("e1_sgd", "elements", 4),), (4.0, 4.0, 4.0), (4.0, 4.0))
        both = (Stream(f"weights {layer.index}"), Stream(f"momentum {layer.index}"))
        return Side(both, step, both, in_place=True)

    def weights(self, layer: Layer) -> Side:
        """The weights of a layer."""
        return Side((Stream(f"weights {layer.index}"),))

    def mask(self, layer: Layer, unit: int) -> tuple[Call, ...]:
        """ReLU's gradient from the stored output, raw or not."""
        relu = self.relu(layer, unit)
        if not relu:
            return self.read_calls(unit)
        raw = (Call("e4_bn", "pixels", unit),) if layer.has_weights else ()
        return (*self.read_calls(unit), *raw, *relu, Call("e3_bwd", "elements", unit))

    def _copy(self, unit: int) -> Step:
        size = self.setting.map_bytes
        return Step(self.read_calls(unit), (size,), (4.0,), unit=unit, apart=True)
