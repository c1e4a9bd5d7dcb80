"""MobileNet-V1, a chain; and the inverted-residual networks MobileNetV2 and EfficientNet-Lite0."""

from qlrjax.network.build import Builder, square
from qlrjax.network.table import Activation, Network, PaddingConvention

# Caffe names, output channels at width 1.0 and stride of the 13 depthwise separable blocks.
_BLOCKS_V1 = (
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
# Expansion, output channels, repeats, stride of the first, kernel.
_STAGES_V2 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
_STAGES_LITE0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
PixelScale = tuple[tuple[float, float, float], tuple[float, float, float]]
SIGNED_PIXELS: PixelScale = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))  # the range -1 to 1


def mobilenet_v1(
    width: float = 1.0,
    resolution: int | tuple[int, int] = 128,
    classes: int = 50,
    padding_convention: PaddingConvention = "tensorflow",
    activation: Activation = "relu6",
    bn_epsilon: float = 1e-3,
    pixels: PixelScale = SIGNED_PIXELS,
) -> Network:
    """MobileNet-V1 (Howard et al., arXiv 1704.04861) with a linear classifier.

    Args:
        width: Channel multiplier; 0.25, 0.5, 0.75 and 1.0 have published weights.
        resolution: Side of a square image, or (height, width), in pixels.
        classes: Number of logits.
        padding_convention: See `Network`.
        activation: See `Layer`.
        bn_epsilon: See `Network`. The defaults are those of TF-Slim; pytorchcv has "pytorch",
            "relu", 1e-5 and ImageNet's mean and deviation.
        pixels: pixel_mean and pixel_std of `Network`.

    Raises:
        ValueError: The width, resolution or number of classes is not positive.
    """
    in_hw = image_size(resolution, width, classes)

    def scaled(channels: int) -> int:
        return max(int(channels * width), 8)

    build = Builder((*in_hw, 3), padding_convention)
    build.append("conv1", "conv", scaled(32), window=square(3, 2), activation=activation)
    for name, channels, stride in _BLOCKS_V1:
        build.append(f"{name}/dw", "depthwise", window=square(3, stride), activation=activation)
        build.append(f"{name}/sep", "pointwise", scaled(channels), activation=activation)
    return build.finish(
        classes,
        bn_epsilon=bn_epsilon,
        pixel_mean=pixels[0],
        pixel_std=pixels[1],
        name="mobilenet_v1",
        width=width,
        padding_convention=padding_convention,
    )


def mobilenet_v2(
    width: float = 1.0, resolution: int | tuple[int, int] = 128, classes: int = 50
) -> Network:
    """MobileNetV2 (Sandler et al., arXiv 1801.04381), padded and normalised as in torchvision.

    Args:
        width: Channel multiplier; channels are rounded to multiples of 8.
        resolution: Side of a square image, or (height, width), in pixels.
        classes: Number of logits.

    Raises:
        ValueError: The width, resolution or number of classes is not positive.
    """
    build = Builder((*image_size(resolution, width, classes), 3), "pytorch")
    build.append("stem", "conv", _divisible(32 * width), window=square(3, 2), activation="relu6")
    _inverted_residuals(build, _STAGES_V2, width)
    build.append("head", "pointwise", _divisible(1280 * max(width, 1.0)), activation="relu6")
    return build.finish(
        classes,
        bn_epsilon=1e-5,
        pixel_mean=IMAGENET_MEAN,
        pixel_std=IMAGENET_STD,
        name="mobilenet_v2",
        width=width,
        padding_convention="pytorch",
    )


def efficientnet_lite0(resolution: int | tuple[int, int] = 128, classes: int = 50) -> Network:
    """EfficientNet-Lite0: no squeeze-and-excitation, ReLU6 (TensorFlow TPU models, Apache-2.0).

    Raises:
        ValueError: The resolution or number of classes is not positive.
    """
    build = Builder((*image_size(resolution, 1.0, classes), 3), "tensorflow")
    build.append("stem", "conv", 32, window=square(3, 2), activation="relu6")
    _inverted_residuals(build, _STAGES_LITE0, 1.0)
    build.append("head", "pointwise", 1280, activation="relu6")
    return build.finish(
        classes,
        bn_epsilon=1e-3,
        pixel_mean=(127.0,) * 3,
        pixel_std=(128.0,) * 3,
        name="efficientnet_lite0",
        padding_convention="tensorflow",
    )


def image_size(resolution: int | tuple[int, int], width: float, classes: int) -> tuple[int, int]:
    """Height and width of the image, after a look at what else a user may choose.

    Raises:
        ValueError: The width, resolution or number of classes is not positive.
    """
    in_hw = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(in_hw) < 1:
        raise ValueError(f"resolution {in_hw} has no pixels; give positive height and width")
    if not width > 0 or classes < 1:
        raise ValueError(f"width {width} and classes {classes} must be positive")
    return in_hw


def _inverted_residuals(
    build: Builder, stages: tuple[tuple[int, int, int, int, int], ...], width: float
) -> None:
    """Blocks b0, b1 and so on: expand, depthwise, project without activation, and the add."""
    block = 0
    for expansion, channels, repeats, first_stride, kernel in stages:
        out = _divisible(channels * width)
        for repeat in range(repeats):
            source, stride = build.top, first_stride if repeat == 0 else 1
            c_in = build.shape(source)[2]
            name = f"b{block}"
            if expansion != 1:
                build.append(f"{name}/expand", "pointwise", c_in * expansion, activation="relu6")
            build.append(
                f"{name}/dw",
                "depthwise",
                window=square(kernel, stride),
                activation="relu6",
            )
            build.append(f"{name}/project", "pointwise", out)
            if stride == 1 and out == c_in:
                build.append(f"{name}/add", "add", inputs=(source, f"{name}/project"))
            block += 1


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below (both papers' code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
