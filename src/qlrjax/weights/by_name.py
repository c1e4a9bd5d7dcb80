"""Networks with their pretrained parameters by name: those that ship, a user's files, random ones.

builtin, mobilenet_v1   ImageNet MobileNet-V1 1.0
efficientnet_lite0      ImageNet EfficientNet-Lite0
resnet8, ds_cnn         of MLPerf Tiny: CIFAR-10, spoken keywords
random:SEED[:WIDTH]     MobileNet-V1, for tests; NETWORK:random:SEED[:WIDTH] for any other
FILE.h5, FILE.npz       MobileNet-V1, from Keras or experiments/convert_mobilenet.py
FILE.onnx               any network of the operators in `onnx_reader`
"""

import hashlib
import importlib.resources
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from qlrjax import files, npz
from qlrjax.network import (
    Network,
    ds_cnn,
    efficientnet_lite0,
    mobilenet_v1,
    mobilenet_v2,
    resnet8,
)
from qlrjax.weights import keras
from qlrjax.weights.parameters import (
    RANDOM,
    SIZE_LIMIT_BYTES,
    UNPACKED_LIMIT,
    Parameters,
    WeightsError,
    check,
    check_file,
    float32,
    random,
)

Resolution = int | tuple[int, int]
Build = Callable[[float, Resolution, int], Network]

# What ships in qlrjax/assets, and the SHA-256 of what was released.
ASSETS = {
    "resnet8": (
        "resnet8.npz",
        "d024e63118ec20315c4fee327642922c7addb35a3e4c825d18ecfd9833f7fda6",
    ),
    "ds_cnn": (
        "ds_cnn.npz",
        "94b709e314ac511f98795d7155b05878dc9479cf917a5bad58bfb9b668e1302d",
    ),
    "efficientnet_lite0": (
        "efficientnet_lite0.npz",
        "eccf38ba7f1de64f217e353525d9c1cd8e8aa176e00870d2c50b1ca5488e4133",
    ),
    "mobilenet_v1": (
        "mobilenet_v1_1.0.npz",
        "9ba8330e86bd7008db74283f787cfa16ab72462f79666540e30df0e318ee35f7",
    ),
}
_BUILD: dict[str, Build] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite0": lambda width, resolution, classes: efficientnet_lite0(
        resolution, classes
    ),
    "resnet8": lambda width, resolution, classes: resnet8(resolution, classes),
    "ds_cnn": lambda width, resolution, classes: ds_cnn(classes),
}
BUILTIN_NETWORKS = tuple(_BUILD)
# Whatever a reader may raise on damaged bytes, wherever the damage lies.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def load(name: str, classes: int, resolution: Resolution) -> tuple[Network, Parameters]:
    """Parameters by name or path, and the network with the conventions they were trained with.

    Args:
        name: See the module.
        classes: Logits of the classifier, which is learned anew.
        resolution: Pixels, see `mobilenet_v1`.

    Raises:
        WeightsError: What is wrong with the file, by name.
        ValueError: The resolution is too small for the network.
    """
    family, _, rest = name.partition(":")
    if name == "builtin" or name in _BUILD:
        return _load_builtin("mobilenet_v1" if name == "builtin" else name, classes, resolution)
    if RANDOM.fullmatch(name) or (family in _BUILD and RANDOM.fullmatch(rest)):
        match = RANDOM.fullmatch(name) or RANDOM.fullmatch(rest)
        assert match is not None
        build = _BUILD["mobilenet_v1" if family == "random" else family]
        network = build(float(match[2] or 1.0), resolution, classes)
        return network, random(network, int(match[1]))
    if Path(name).suffix == ".onnx":
        return _load_onnx(Path(name), classes, resolution)
    parameters = load_file(Path(name))
    shape = parameters["conv1"]["weight"].shape
    if len(shape) != 4 or shape[-1] < 1:
        raise WeightsError(
            f"{name}: tensor conv1:weight has shape {list(shape)}, a MobileNet-V1 takes "
            "[3, 3, 3, channels]"
        )
    network = mobilenet_v1(shape[-1] / 32, resolution, classes)
    check(network, parameters, name)
    return network, parameters


def outline(name: str, classes: int, resolution: Resolution | None = None) -> Network:
    """The network alone, arguments as for `load`; nothing but an .onnx is read.

    Without a resolution it is what an .onnx says, 32 for resnet8, and 128 pixels for the others. A
    MobileNet-V1 from a .h5 or .npz is taken to be of width 1.

    Raises:
        WeightsError: There is no such network or file, or its .onnx is not usable.
        ValueError: The resolution is too small for the network.
    """
    family, _, rest = name.partition(":")
    if Path(name).suffix == ".onnx":
        return _load_onnx(Path(name), classes, resolution)[0]
    match = RANDOM.fullmatch(name) or RANDOM.fullmatch(rest)
    width = float(match[2] or 1.0) if match else 1.0
    if resolution is None:
        resolution = 32 if family == "resnet8" else 128
    if family in _BUILD and (not rest or match):
        return _BUILD[family](width, resolution, classes)
    if name != "builtin" and not match:
        check_file(Path(name))
    return mobilenet_v1(width, resolution, classes)


def is_path(name: str) -> bool:
    """Whether weights are named by the path of a file."""
    family, _, rest = name.partition(":")
    known = name in ("builtin", *_BUILD) or RANDOM.fullmatch(name)
    return not (known or (family in _BUILD and RANDOM.fullmatch(rest)))


def load_builtin(name: str = "mobilenet_v1") -> Parameters:
    """The shipped weights of a network; NOTICE says where they come from.

    Raises:
        WeightsError: There are none, or the installed file is not the one that was released.
    """
    if name not in ASSETS:
        raise WeightsError(
            f"no weights of {name} ship with qlrjax; give {name}:random:0, or a file"
        )
    asset, digest = ASSETS[name]
    place = importlib.resources.files("qlrjax").joinpath("assets", asset)
    found = hashlib.sha256(place.read_bytes()).hexdigest()
    if found != digest:
        raise WeightsError(
            f"the built-in weights {asset} are damaged: SHA-256 {found[:12]}… instead of "
            f"{digest[:12]}…; install qlrjax again"
        )
    with importlib.resources.as_file(place) as path:
        return _read_npz(path)


def load_file(path: Path) -> Parameters:
    """Parameters of a MobileNet-V1 in a .h5 or .npz file, see `load`."""
    check_file(path)
    match path.suffix:
        case ".npz":
            parameters = _read_npz(path)
            if "weight" not in parameters.get("conv1", {}):
                raise WeightsError(f"{path} has no tensor conv1:weight; it is not a MobileNet-V1")
            return parameters
        case ".h5" | ".keras" | ".hdf5":
            return keras.read(path)
        case suffix:
            raise WeightsError(f"{path} ends in {suffix!r}; weights are .h5, .npz or .onnx files")


def _load_builtin(name: str, classes: int, resolution: Resolution) -> tuple[Network, Parameters]:
    parameters = load_builtin(name)
    network = _BUILD[name](1.0, resolution, classes)
    check(network, parameters, name)
    return network, parameters


def _load_onnx(
    path: Path, classes: int, resolution: Resolution | None
) -> tuple[Network, Parameters]:
    check_file(path)
    try:
        from qlrjax.weights import onnx_reader
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"reading {path} needs the package onnx; install it with: pip install 'qlrjax[onnx]'"
        ) from error
    network, parameters = onnx_reader.read(path, resolution)
    check(network, parameters, str(path))
    return network.with_classes(classes), parameters


def _read_npz(path: Path) -> Parameters:
    parameters: Parameters = {}
    try:
        for name, array in npz.read(files.read(path, SIZE_LIMIT_BYTES), UNPACKED_LIMIT).items():
            layer, _, key = name.rpartition(":")
            parameters.setdefault(layer, {})[key] = float32(array, name)
    except _DAMAGE as error:
        raise WeightsError(f"{path} is not a readable .npz of weights: {error}") from error
    return parameters
