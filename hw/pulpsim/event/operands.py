"""What the passes of the blocked schedule read and write, and how it becomes FP32 on the way.

Only raw convolution outputs z, masked gradients dy and packed codes are stored. A layer's input is
normalised and rectified when a block of z arrives; a gradient dz goes through the normalisation
when blocks of dy and z arrive (under running statistics it is scaled by its producer and stored).
Above the pooling nothing but a vector a sample is stored: its gradient is spread over the planes as
they are read.
"""

import dataclasses

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
    def relu(self) -> str:
        """Kernel of the activation."""
        return "e10_relu6" if self.setting.network.activation == "relu6" else "e3_fwd"

    @property
    def whole(self) -> bool:
        """Whether the mini-batch's own statistics normalise."""
        return self.setting.statistics == "minibatch"

    def before(self, layer: Layer) -> Layer:
        """The layer below."""
        return self.setting.network.layers[layer.index - 1]

    def map(self, letter: str, layer: Layer, share: int | float = 1.0) -> Stream:
        """A stored map: z or dy of a layer."""
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

    def normalise(self, unit: int, apart: bool = False) -> Step:
        """A layer's raw output to its activation; the ReLU's mask stays in L1."""
        norm = (Call("e4_bn", "pixels", unit), Call(self.relu, "elements", unit))
        calls = (*self.read_calls(unit), *norm)
        stored = self.setting.map_bytes
        return Step(calls, (stored,), (4.0,), scratch_bytes=1.0, unit=unit, apart=apart)

    def input(self, layer: Layer, unit: int, apart: bool = False) -> tuple[Stream, Step]:
        """Input of a trained layer; `share` is 1: per element."""
        if layer.index == self.setting.latent_layer:
            return self.codes(), dataclasses.replace(self.decode(unit), apart=True)
        return self.map("z", self.before(layer)), self.normalise(unit, apart)

    def gradient(
        self, layer: Layer, unit: int, apart: bool = False, stored: bool = False
    ) -> tuple[tuple[Stream, ...], Step | None]:
        """Gradient dz of a layer's raw output.

        Args:
            layer: A normalised layer.
            unit: Elements of a row.
            apart: Its rows are written into padded planes.
            stored: dz itself is stored.
        """
        size = self.setting.map_bytes
        if self.pooled(layer):
            unit = layer.out_hw[0] * layer.out_hw[1]
            through = "e6b_bnbwd" if self.whole else "e4_bn"
            calls = (
                Call("e7_gapb", "each", unit),
                *self._mask(unit),
                Call(through, "pixels", unit),
            )
            streams = (self.map("z", layer), Stream("pooled gradient", 4.0, 1.0 / unit))
            return streams, Step(calls, (size, 4.0 / unit), (4.0,), 9.0, unit, apart)
        if not self.whole or stored:
            step = self._copy(unit) if apart or self.up else None
            return (self.map("dz", layer),), step
        calls = (*self.read_calls(unit, 2), Call("e6b_bnbwd", "pixels", unit))
        streams = (self.map("dy", layer), self.map("z", layer))
        return streams, Step(calls, (size, size), (4.0,), unit=unit, apart=apart)

    def masked(self, layer: Layer, unit: int) -> Side:
        """An input gradient on its way out: masked by the layer below, whose sums it gives."""
        below = self.before(layer)
        size = self.setting.map_bytes
        calls = (*self._mask(unit), Call("e6a_bnsum", "pixels", unit))
        if not self.whole:
            calls = (*calls, Call("e4_bn", "pixels", unit))
        calls = (*calls, *self.written_calls(unit))
        step = Step(calls, (4.0, size), (size,), scratch_bytes=5.0, unit=unit)
        letter = "dy" if self.whole else "dz"
        return Side((self.map("z", below),), step, (self.map(letter, below),))

    def stored(self, layer: Layer, unit: int) -> Side:
        """A raw output on its way out, rounded first where maps are narrower."""
        size = self.setting.map_bytes
        step = Step(self.written_calls(unit), (4.0,), (size,), unit=unit) if self.up else None
        return Side(step=step, writes=(self.map("z", layer),))

    def pooled(self, layer: Layer) -> bool:
        """Whether the pooling follows."""
        return layer.index == self.setting.network.last - 1

    def updated(self, layer: Layer) -> Side:
        """A weight gradient: it stays where it added up until SGD has been applied to it."""
        step = Step((Call("e1_sgd", "elements", 4),), (4.0, 4.0, 4.0), (4.0, 4.0))
        both = (Stream(f"weights {layer.index}"), Stream(f"momentum {layer.index}"))
        return Side(both, step, both, in_place=True)

    def weights(self, layer: Layer) -> Side:
        """The weights of a layer."""
        return Side((Stream(f"weights {layer.index}"),))

    def _mask(self, unit: int) -> tuple[Call, ...]:
        """ReLU's gradient from the raw output."""
        return (
            *self.read_calls(unit),
            Call("e4_bn", "pixels", unit),
            Call(self.relu, "elements", unit),
            Call("e3_bwd", "elements", unit),
        )

    def _copy(self, unit: int) -> Step:
        size = self.setting.map_bytes
        return Step(self.read_calls(unit), (size,), (4.0,), unit=unit, apart=True)
