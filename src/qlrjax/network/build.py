"""Laying out a graph layer by layer: sizes follow from kernels, strides and padding."""

import dataclasses
from typing import Any

from qlrjax.network.table import (
    IMAGES,
    Activation,
    Kind,
    Layer,
    Network,
    Padding,
    PaddingConvention,
)

NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclasses.dataclass(frozen=True)
class Window:
    """What a layer sees of its input at once.

    Attributes:
        kernel_hw: Height and width, pixels.
        stride: Step in both directions, pixels.
        padding: See `Layer`; None pads by the builder's convention.
    """

    kernel_hw: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Padding | None = None


def square(side: int, stride: int = 1) -> Window:
    """A square window, padded by convention."""
    return Window((side, side), stride)


def padding_of(
    in_hw: tuple[int, int], kernel_hw: tuple[int, int], stride: int, convention: PaddingConvention
) -> Padding:
    """Padding of a convolution or pooling under a convention, see `Network`."""

    def side(size: int, kernel: int) -> tuple[int, int]:
        if convention == "pytorch":
            return (kernel // 2, kernel // 2)
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return (total // 2, total - total // 2)

    return side(in_hw[0], kernel_hw[0]), side(in_hw[1], kernel_hw[1])


def size_after(
    in_hw: tuple[int, int], kernel_hw: tuple[int, int], stride: int, padding: Padding
) -> tuple[int, int]:
    """Height and width of what a window gives; not positive where the image is too small."""
    sides = zip(in_hw, kernel_hw, padding, strict=True)
    height, width = ((size + sum(pad) - kernel) // stride + 1 for size, kernel, pad in sides)
    return height, width


class Builder:
    """Layers appended so far; every method returns the name of the layer it appends."""

    def __init__(
        self, in_shape: tuple[int, int, int], convention: PaddingConvention | None = None
    ) -> None:
        """Starts with the image alone, of (height, width, channels)."""
        self.in_shape = in_shape
        self.convention: PaddingConvention | None = convention
        self.layers: list[Layer] = []

    def shape(self, name: str) -> tuple[int, int, int]:
        """Height, width and channels of a layer's output, or of the image."""
        if name == IMAGES:
            return self.in_shape
        for layer in self.layers:
            if layer.name == name:
                return layer.out_shape
        raise ValueError(f"there is no layer {name} to take an input from")

    @property
    def top(self) -> str:
        """Name of the layer appended last."""
        return self.layers[-1].name if self.layers else IMAGES

    def append(
        self,
        name: str,
        kind: Kind,
        out_channels: int | None = None,
        *,
        inputs: tuple[str, ...] | None = None,
        window: Window = Window(),
        activation: Activation = "none",
        batch_norm: bool = True,
    ) -> str:
        """Appends a layer; it takes the one before, keeps its channels and pads by convention.

        Raises:
            ValueError: The name is taken, the inputs differ in shape, or the image is too small.
        """
        inputs = inputs or (self.top,)
        shapes = {self.shape(source) for source in inputs}
        if any(layer.name == name for layer in self.layers):
            raise ValueError(f"two layers are called {name}; names must differ")
        if len(shapes) != 1:
            raise ValueError(f"the inputs of {name} have different shapes: {sorted(shapes)}")
        height, width, channels = shapes.pop()
        kernel_hw, stride, padding = window.kernel_hw, window.stride, window.padding
        if padding is None:
            padding = NO_PADDING
            if self.convention and kernel_hw != (1, 1):
                padding = padding_of((height, width), kernel_hw, stride, self.convention)
        out_hw = size_after((height, width), kernel_hw, stride, padding)
        if min(out_hw) < 1:
            raise ValueError(
                f"layer {name}: an image of {height} x {width} pixels is smaller than its "
                f"{kernel_hw[0]} x {kernel_hw[1]} window"
            )
        layer = Layer(
            len(self.layers),
            name,
            kind,
            channels,
            out_channels or channels,
            (height, width),
            out_hw,
            kernel_hw,
            stride,
            padding,
            inputs,
            activation,
        )
        has_norm = batch_norm and layer.has_weights and kind != "linear"
        self.layers.append(dataclasses.replace(layer, batch_norm=has_norm))
        return name

    def finish(self, classes: int, classifier: str = "linear", **conventions: Any) -> Network:
        """Appends global average pooling with the linear classifier and closes the graph.

        Args:
            classes: Logits.
            classifier: Name of the classifier.
            **conventions: The other fields of `Network`.

        Raises:
            ValueError: Another layer has the classifier's name.
        """
        if any(layer.name == classifier for layer in self.layers):
            raise ValueError(f"two layers are called {classifier}; names must differ")
        features = self.shape(self.top)[2]
        last = Layer(
            len(self.layers),
            classifier,
            "linear",
            features,
            classes,
            (1, 1),
            (1, 1),
            inputs=(self.top,),
        )
        return Network(layers=(*self.layers, last), **conventions)
