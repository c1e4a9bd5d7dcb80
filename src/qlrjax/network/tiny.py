"""Two networks of MLPerf Tiny (mlcommons/tiny, Apache-2.0): ResNet8 and DS-CNN."""

from qlrjax.network.build import Builder, Window, square
from qlrjax.network.mobilenet import image_size
from qlrjax.network.table import Network

# How the int8 DS-CNN of MLPerf Tiny codes its MFCC features: real = scale * (code - zero point),
# here with codes of 0..255.
_MFCC_SCALE, _MFCC_ZERO = 0.5847029089927673, 83 + 128


def resnet8(resolution: int | tuple[int, int] = 32, classes: int = 10) -> Network:
    """ResNet8 for CIFAR-10: three residual blocks, two of them with a strided 1x1 shortcut.

    Its pixels are codes 0..255 as they are. The shortcuts have a bias and no batch norm.

    Raises:
        ValueError: The resolution or number of classes is not positive.
    """
    build = Builder((*image_size(resolution, 1.0, classes), 3), "tensorflow")
    build.append("stem", "conv", 16, window=square(3), activation="relu")
    for block, channels in enumerate((16, 32, 64)):
        source, stride = build.top, 1 if block == 0 else 2
        build.append(
            f"b{block}/conv1",
            "conv",
            channels,
            window=square(3, stride),
            activation="relu",
        )
        inner = build.append(f"b{block}/conv2", "conv", channels, window=square(3))
        if stride == 2:
            source = build.append(
                f"b{block}/shortcut",
                "conv",
                channels,
                inputs=(source,),
                window=square(1, 2),
                batch_norm=False,
            )
        build.append(f"b{block}/add", "add", inputs=(source, inner), activation="relu")
    return build.finish(
        classes,
        bn_epsilon=1e-3,
        pixel_mean=(0.0,) * 3,
        pixel_std=(1.0,) * 3,
        name="resnet8",
        padding_convention="tensorflow",
    )


def ds_cnn(classes: int = 12) -> Network:
    """DS-CNN for spoken keywords: 49 frames of 10 MFCC features as one-channel images.

    Batch norm is folded into biases, as in the published file.

    Raises:
        ValueError: The number of classes is not positive.
    """
    build = Builder((*image_size((49, 10), 1.0, classes), 1), "tensorflow")
    build.append("stem", "conv", 64, window=Window((10, 4), 2), activation="relu", batch_norm=False)
    for block in range(4):
        build.append(
            f"b{block}/dw", "depthwise", window=square(3), activation="relu", batch_norm=False
        )
        build.append(f"b{block}/sep", "pointwise", 64, activation="relu", batch_norm=False)
    return build.finish(
        classes,
        bn_epsilon=1e-3,
        pixel_mean=(float(_MFCC_ZERO),),
        pixel_std=(1 / _MFCC_SCALE,),
        name="ds_cnn",
        padding_convention="tensorflow",
    )
