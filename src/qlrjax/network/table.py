"""The graph of layers: shapes, multiply-accumulates, parameters, and where it may be cut.

Layers stand in topological order, each with the names of its inputs; the last is global average
pooling and the linear classifier, and its input is counted after the pooling. Latent layer l is the
first layer that is trained, and a latent is what crosses into it: l = last trains the classifier
only and l = 0 trains everything. MobileNet-V1 is a chain of layers 0 to 27, whose l is that of
Ravaglia et al. (JETCAS 2021): 1,024 elements at l = 27 for width 1.0.

A cut must be one tensor that all data crosses. The layers below such a tensor are its ancestors and
those above depend on it, so in any topological order they are the first l and the rest: the index l
names every possible cut of a graph as it does of a chain.
"""

import dataclasses
import functools
from typing import Literal

Kind = Literal["conv", "depthwise", "pointwise", "linear", "add", "max_pool", "average_pool"]
PaddingConvention = Literal["tensorflow", "pytorch"]
Activation = Literal["relu", "relu6", "none"]
IMAGES = "images"  # the name by which layers ask for the image
Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One node of the graph. Spatial sizes are (height, width) in pixels, `in_hw` before padding.

    Attributes:
        index: Place in the topological order, from 0.
        name: Unique in the network.
        kind: What it computes; "add" is the sum of two inputs of one shape.
        in_channels: Of every input.
        out_channels: Of the output.
        in_hw: Size of every input.
        out_hw: Size of the output.
        kernel_hw: Window of convolutions and poolings.
        stride: Step in both directions, pixels.
        padding: ((top, bottom), (left, right)) in pixels. Poolings: a maximum ignores the padding,
            an average counts it as zeros.
        inputs: Names of the layers whose outputs it takes, or `IMAGES`.
        activation: What follows; "none" after linear bottlenecks.
        batch_norm: Whether batch norm follows the product; a bias does where it is False.
    """

    index: int
    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    in_hw: tuple[int, int]
    out_hw: tuple[int, int]
    kernel_hw: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Padding = ((0, 0), (0, 0))
    inputs: tuple[str, ...] = (IMAGES,)
    activation: Activation = "none"
    batch_norm: bool = False

    @property
    def kernel(self) -> int:
        """Side of a square window.

        Raises:
            ValueError: The window is not square.
        """
        if self.kernel_hw[0] != self.kernel_hw[1]:
            raise ValueError(
                f"layer {self.name} has a {self.kernel_hw[0]} x {self.kernel_hw[1]} window, and a "
                "square one is needed here"
            )
        return self.kernel_hw[0]

    @property
    def has_weights(self) -> bool:
        """Whether it is a product with weights, unlike an add or a pooling."""
        return self.kind in ("conv", "depthwise", "pointwise", "linear")

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Input (height, width, channels)."""
        return (*self.in_hw, self.in_channels)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Output (height, width, channels)."""
        return (*self.out_hw, self.out_channels)

    @property
    def in_elements(self) -> int:
        """Elements of one input, the latent of this layer."""
        return self.in_hw[0] * self.in_hw[1] * self.in_channels

    @property
    def out_elements(self) -> int:
        """Elements of one output."""
        return self.out_hw[0] * self.out_hw[1] * self.out_channels

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Convolution HWIO, depthwise (kh, kw, C), pointwise and linear (Cin, Cout), else (0,)."""
        match self.kind:
            case "conv":
                return (*self.kernel_hw, self.in_channels, self.out_channels)
            case "depthwise":
                return (*self.kernel_hw, self.out_channels)
            case "pointwise" | "linear":
                return (self.in_channels, self.out_channels)
            case _:
                return (0,)

    @property
    def weights(self) -> int:
        """Number of weights, without batch norm."""
        count = 1
        for size in self.weight_shape:
            count *= size
        return count

    @property
    def fan_in(self) -> int:
        """Multiply-accumulates per output element; none in adds and poolings."""
        return self.weights // self.out_channels

    @property
    def parameters(self) -> int:
        """Weights, and gamma and beta of a batch norm or a bias; the classifier has no bias."""
        if not self.has_weights or self.kind == "linear":
            return self.weights
        return self.weights + self.out_channels * (2 if self.batch_norm else 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one sample."""
        return self.out_elements * self.fan_in


@dataclasses.dataclass(frozen=True)
class Network:
    """The graph and the conventions its parameters were trained with.

    Attributes:
        layers: In topological order, the last one the linear classifier after global average
            pooling.
        bn_epsilon: Added to the variance inside the square root.
        pixel_mean: Per channel of the image, in units of uint8 codes.
        pixel_std: Likewise; the network sees (code - mean) / std.
        name: What it is, such as "mobilenet_v1".
        width: Channel multiplier of families that have one.
        padding_convention: How layers are padded: "tensorflow" SAME puts the odd pixel at the
            bottom right, "pytorch" pads half a kernel on every side. None: each layer as it says.
    """

    layers: tuple[Layer, ...]
    bn_epsilon: float
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    name: str = "network"
    width: float = 1.0
    padding_convention: PaddingConvention | None = None

    @property
    def in_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.layers[0].in_hw

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the image."""
        return self.layers[0].in_shape

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.layers[-1].out_channels

    @property
    def last(self) -> int:
        """Index of the linear classifier, 27 for MobileNet-V1."""
        return self.layers[-1].index

    @property
    def pool_hw(self) -> tuple[int, int]:
        """Window of the global average pooling before the classifier, in pixels."""
        return self.layers[-2].out_hw

    @property
    def activation(self) -> Activation:
        """The one activation that follows every layer but the classifier.

        Raises:
            ValueError: Layers differ.
        """
        first = self.layers[0].activation
        other = {layer.activation for layer in self.layers[1:-1]} - {first}
        if other:
            raise ValueError(f"{self.name} has several activations: {first}, {', '.join(other)}")
        return first

    @property
    def is_chain(self) -> bool:
        """Whether every layer takes the output of the one before, as MobileNet-V1's do."""
        names = (IMAGES, *(layer.name for layer in self.layers))
        return all(layer.inputs == (names[layer.index],) for layer in self.layers)

    @functools.cached_property
    def latent_layers(self) -> tuple[int, ...]:
        """Every l at which one tensor is all that crosses, from 0 to `last`."""
        return tuple(layer.index for layer in self.layers if self._crossing(layer.index) is None)

    def _crossing(self, latent_layer: int) -> tuple[Layer, str] | None:
        """A layer above the cut and what else it takes from below, besides the latent."""
        latent = IMAGES if latent_layer == 0 else self.layers[latent_layer - 1].name
        above = {layer.name for layer in self.layers[latent_layer:]}
        for layer in self.layers[latent_layer:]:
            for source in layer.inputs:
                if source != latent and source not in above:
                    return layer, source
        return None

    def check_latent_layer(self, latent_layer: int) -> None:
        """Raises ValueError unless one tensor is all that crosses into layer `latent_layer`."""
        if not 0 <= latent_layer <= self.last:
            raise ValueError(
                f"latent layer {latent_layer} is out of range: this network has layers 0 to "
                f"{self.last}; choose one of them (qlrjax network lists the cuts)"
            )
        if latent_layer in self.latent_layers:
            return
        crossing = self._crossing(latent_layer)
        assert crossing is not None
        below = max(index for index in self.latent_layers if index < latent_layer)
        above = min(index for index in self.latent_layers if index > latent_layer)
        choices = " or ".join(f"{index} (after {self.cut_name(index)})" for index in (below, above))
        raise ValueError(
            f"{self.name} cannot be cut at {latent_layer} (after {self.cut_name(latent_layer)}): "
            f"{crossing[0].name} also takes the output of {crossing[1]} from below; cut at "
            f"{choices}"
        )

    def cut_name(self, latent_layer: int) -> str:
        """Name of what crosses the cut: a layer's output, or `IMAGES`."""
        return IMAGES if latent_layer == 0 else self.layers[latent_layer - 1].name

    def latent_layer_after(self, name: str) -> int:
        """The latent layer of the cut whose latent is the output of layer `name`, or the image.

        Raises:
            ValueError: There is no such layer, or other data crosses there, too.
        """
        names = [self.cut_name(layer.index) for layer in self.layers]
        if name not in names:
            raise ValueError(
                f"{self.name} has no layer {name!r} to cut after; qlrjax network lists them"
            )
        self.check_latent_layer(names.index(name))
        return names.index(name)

    def frozen(self, latent_layer: int) -> tuple[Layer, ...]:
        """Layers below the cut, run as integers."""
        self.check_latent_layer(latent_layer)
        return self.layers[:latent_layer]

    def adaptive(self, latent_layer: int) -> tuple[Layer, ...]:
        """Layers from the cut on, trained in FP32; the last is the linear classifier."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer:]

    def latent_shape(self, latent_layer: int) -> tuple[int, int, int]:
        """Height, width and channels of a latent; (1, 1, C) at the classifier."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer].in_shape

    def latent_elements(self, latent_layer: int) -> int:
        """Elements of a latent."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer].in_elements

    def with_classes(self, classes: int) -> "Network":
        """The same network with another number of logits."""
        last = dataclasses.replace(self.layers[-1], out_channels=classes)
        return dataclasses.replace(self, layers=(*self.layers[:-1], last))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Number of weights, without batch norm and biases."""
        return sum(layer.weights for layer in self.layers)
