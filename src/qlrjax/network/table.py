"""The one table of layers: shapes, multiply-accumulates, parameters and latent sizes.

Layers are numbered 0 (first convolution) to 27 (pooling and linear layer). Latent layer l is the
first layer that is trained and a latent is its input; l = 27 trains the linear layer only and l = 0
trains everything. Layer 27's input is counted after the global average pooling, as in Ravaglia et
al. (JETCAS 2021): 1,024 elements for width 1.0.
"""

import dataclasses
from typing import Literal

Kind = Literal["conv", "depthwise", "pointwise", "linear"]
PaddingConvention = Literal["tensorflow", "pytorch"]
Activation = Literal["relu", "relu6"]
Padding = tuple[tuple[int, int], tuple[int, int]]

# Caffe names, output channels at width 1.0 and stride of the 13 depthwise separable blocks.
_BLOCKS = (
    ("conv2_1", 64, 1),
    ("conv2_2", 128, 2),
    ("conv3_1", 128, 1),
    ("conv3_2", 256, 2),
    ("conv4_1", 256, 1),
    ("conv4_2", 512, 2),
    ("conv5_1", 512, 1),
    ("conv5_2", 512, 1),
    ("conv5_3", 512, 1),
    ("conv5_4", 512, 1),
    ("conv5_5", 512, 1),
    ("conv5_6", 1024, 2),
    ("conv6", 1024, 1),
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of the table. Spatial sizes are (height, width) in pixels, `in_hw` before padding."""

    index: int
    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    in_hw: tuple[int, int]
    out_hw: tuple[int, int]
    kernel: int = 1
    stride: int = 1
    padding: Padding = ((0, 0), (0, 0))

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
        """Convolution HWIO, depthwise (kh, kw, C), pointwise and linear (Cin, Cout)."""
        match self.kind:
            case "conv":
                return (self.kernel, self.kernel, self.in_channels, self.out_channels)
            case "depthwise":
                return (self.kernel, self.kernel, self.out_channels)
            case _:
                return (self.in_channels, self.out_channels)

    @property
    def weights(self) -> int:
        """Number of weights, without batch norm."""
        count = 1
        for size in self.weight_shape:
            count *= size
        return count

    @property
    def fan_in(self) -> int:
        """Multiply-accumulates per output element."""
        return self.weights // self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one sample."""
        return self.out_elements * self.fan_in


@dataclasses.dataclass(frozen=True)
class Network:
    """The table and the conventions its parameters were trained with.

    Attributes:
        layers: Rows 0 to L, the last one the linear classifier after global average pooling.
        width: Channel multiplier.
        padding_convention: How 3x3 layers are padded: "tensorflow" SAME puts the odd pixel at the
            bottom right, "pytorch" pads one pixel on every side.
        activation: What follows every batch norm.
        bn_epsilon: Added to the variance inside the square root.
        pixel_mean: Per RGB channel, in units of uint8 codes.
        pixel_std: Likewise; the network sees (code - mean) / std.
    """

    layers: tuple[Layer, ...]
    width: float
    padding_convention: PaddingConvention
    activation: Activation
    bn_epsilon: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]

    @property
    def in_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.layers[0].in_hw

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.layers[-1].out_channels

    @property
    def last(self) -> int:
        """Index of the linear layer, 27 for MobileNet-V1."""
        return self.layers[-1].index

    @property
    def pool_hw(self) -> tuple[int, int]:
        """Window of the global average pooling before the linear layer, in pixels."""
        return self.layers[-2].out_hw

    def check_latent_layer(self, latent_layer: int) -> None:
        """Raises ValueError unless 0 <= latent_layer <= last."""
        if not 0 <= latent_layer <= self.last:
            raise ValueError(
                f"latent layer {latent_layer} is out of range: this network has layers 0 to "
                f"{self.last}; choose one of them"
            )

    def frozen(self, latent_layer: int) -> tuple[Layer, ...]:
        """Layers below the cut, run as integers."""
        self.check_latent_layer(latent_layer)
        return self.layers[:latent_layer]

    def adaptive(self, latent_layer: int) -> tuple[Layer, ...]:
        """Layers from the cut on, trained in FP32; the last is the linear classifier."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer:]

    def latent_shape(self, latent_layer: int) -> tuple[int, int, int]:
        """Height, width and channels of a latent; (1, 1, C) at the linear layer."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer].in_shape

    def latent_elements(self, latent_layer: int) -> int:
        """Elements of a latent."""
        self.check_latent_layer(latent_layer)
        return self.layers[latent_layer].in_elements

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Number of weights, without batch norm and biases."""
        return sum(layer.weights for layer in self.layers)


def _pad(size: int, kernel: int, stride: int, convention: PaddingConvention) -> tuple[int, int]:
    if convention == "pytorch":
        return (kernel // 2, kernel // 2)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return (total // 2, total - total // 2)


def _spatial(
    in_hw: tuple[int, int], kernel: int, stride: int, convention: PaddingConvention
) -> tuple[tuple[int, int], Padding]:
    height, width = (_pad(size, kernel, stride, convention) for size in in_hw)
    out = tuple(
        (size + sum(pad) - kernel) // stride + 1
        for size, pad in zip(in_hw, (height, width), strict=True)
    )
    return (out[0], out[1]), (height, width)


def mobilenet_v1(
    width: float = 1.0,
    resolution: int | tuple[int, int] = 128,
    classes: int = 50,
    padding_convention: PaddingConvention = "tensorflow",
    activation: Activation = "relu6",
    bn_epsilon: float = 1e-3,
    pixel_mean: tuple[float, float, float] = (127.5, 127.5, 127.5),
    pixel_std: tuple[float, float, float] = (127.5, 127.5, 127.5),
) -> Network:
    """MobileNet-V1 (Howard et al., arXiv 1704.04861) with a linear classifier.

    Args:
        width: Channel multiplier; 0.25, 0.5, 0.75 and 1.0 have published weights.
        resolution: Side of a square image, or (height, width), in pixels.
        classes: Number of logits.
        padding_convention: See `Network`.
        activation: See `Network`.
        bn_epsilon: See `Network`. The defaults are those of TF-Slim; pytorchcv has "pytorch",
            "relu", 1e-5 and ImageNet's mean and deviation.
        pixel_mean: See `Network`.
        pixel_std: See `Network`.

    Raises:
        ValueError: The width, resolution or number of classes is not positive.
    """
    in_hw = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(in_hw) < 1:
        raise ValueError(f"resolution {in_hw} has no pixels; give positive height and width")
    if not width > 0 or classes < 1:
        raise ValueError(f"width {width} and classes {classes} must be positive")

    def scaled(channels: int) -> int:
        return max(int(channels * width), 8)

    layers: list[Layer] = []

    def append(name: str, kind: Kind, out_channels: int, kernel: int, stride: int) -> None:
        before = layers[-1] if layers else None
        hw = before.out_hw if before else in_hw
        out_hw, padding = _spatial(hw, kernel, stride, padding_convention)
        channels = before.out_channels if before else 3
        layers.append(
            Layer(len(layers), name, kind, channels, out_channels, hw, out_hw, kernel, stride,
                  padding)
        )  # fmt: skip

    append("conv1", "conv", scaled(32), 3, 2)
    for name, channels, stride in _BLOCKS:
        append(f"{name}/dw", "depthwise", layers[-1].out_channels, 3, stride)
        append(f"{name}/sep", "pointwise", scaled(channels), 1, 1)
    features = layers[-1].out_channels
    layers.append(Layer(len(layers), "linear", "linear", features, classes, (1, 1), (1, 1)))
    return Network(
        tuple(layers), width, padding_convention, activation, bn_epsilon, pixel_mean, pixel_std
    )
