"""Pretrained float parameters: the built-in ImageNet MobileNet-V1, Keras files, random ones.

Parameters are {layer name: {"weight", "gamma", "beta", "mean", "variance"}} of float32 arrays, the
names being those of `network.mobilenet_v1`; weights are HWIO for the first convolution, (kh, kw, C)
for depthwise and (Cin, Cout) for pointwise layers.
"""

import hashlib
import importlib.resources
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files, npz
from qlrjax.network import Layer, Network, mobilenet_v1

Parameters = dict[str, dict[str, np.ndarray]]

NAMES = ("weight", "gamma", "beta", "mean", "variance")
ASSET = "mobilenet_v1_1.0.npz"
ASSET_SHA256 = "9ba8330e86bd7008db74283f787cfa16ab72462f79666540e30df0e318ee35f7"
_SIZE_LIMIT_BYTES = 128 * 2**20
_UNPACKED_LIMIT = 256 * 2**20
_RANDOM = re.compile(r"random:(\d+)(?::(\d*\.?\d+))?")
_KERAS_BATCH_NORM = {
    "gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance",
}  # fmt: skip
# Whatever a reader may raise on damaged bytes, wherever the damage lies.
_DAMAGE = (
    OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class WeightsError(ValueError):
    """A weights file is missing, damaged, or made for another network."""


def load(name: str, classes: int, resolution: int | tuple[int, int]) -> tuple[Network, Parameters]:
    """Parameters by name or path, and the table with the conventions they were trained with.

    Args:
        name: "builtin"; "random:SEED" or "random:SEED:WIDTH" (for tests); the path of a Keras
            .h5 such as mobilenet_1_0_128_tf_no_top.h5 (needs h5py); or of an .npz as written by
            `experiments/convert_mobilenet.py`.
        classes: Logits of the classifier, which is not part of the file.
        resolution: Pixels, see `mobilenet_v1`.

    Raises:
        WeightsError: What is wrong with the file, by name.
    """
    if name == "builtin":
        parameters = load_builtin()
    elif match := _RANDOM.fullmatch(name):
        width = float(match[2] or 1.0)
        network = mobilenet_v1(width, resolution, classes)
        return network, random(network, int(match[1]))
    else:
        parameters = load_file(Path(name))
    shape = parameters["conv1"]["weight"].shape
    if len(shape) != 4 or shape[-1] < 1:
        raise WeightsError(
            f"{name}: tensor conv1:weight has shape {list(shape)}, a MobileNet-V1 takes "
            "[3, 3, 3, channels]"
        )
    width = shape[-1] / 32
    network = mobilenet_v1(width, resolution, classes)
    check(network, parameters, name)
    return network, parameters


def load_builtin() -> Parameters:
    """The shipped ImageNet weights; NOTICE says where they come from.

    Raises:
        WeightsError: The installed file is not the one that was released.
    """
    data = importlib.resources.files("qlrjax").joinpath("assets", ASSET).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != ASSET_SHA256:
        raise WeightsError(
            f"the built-in weights {ASSET} are damaged: SHA-256 {found[:12]}… instead of "
            f"{ASSET_SHA256[:12]}…; install qlrjax again"
        )
    with importlib.resources.as_file(
        importlib.resources.files("qlrjax").joinpath("assets", ASSET)
    ) as path:
        return _read_npz(path)


def load_file(path: Path) -> Parameters:
    """Parameters of a .h5 or .npz file, see `load`."""
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}; give 'builtin', or the path of a .h5 or .npz"
        )
    if path.stat().st_size > _SIZE_LIMIT_BYTES:
        raise WeightsError(f"{path} is larger than any MobileNet-V1; is it the right file?")
    match path.suffix:
        case ".npz":
            return _read_npz(path)
        case ".h5" | ".keras" | ".hdf5":
            return _read_keras(path)
        case suffix:
            raise WeightsError(f"{path} ends in {suffix!r}; weights are .h5 or .npz files")


def random(network: Network, seed: int) -> Parameters:
    """He-initialised weights and batch norms near the identity, for tests and tiny networks."""
    generator = np.random.default_rng(seed)
    parameters: Parameters = {}
    for layer in network.layers[:-1]:
        shape, channels = layer.weight_shape, layer.out_channels
        weight = generator.normal(0, np.sqrt(2 / layer.fan_in), shape)
        values = (
            weight, generator.uniform(0.8, 1.2, channels), generator.normal(0.1, 0.1, channels),
            generator.normal(0, 0.1, channels), generator.uniform(0.5, 1.5, channels),
        )  # fmt: skip
        parameters[layer.name] = {
            name: value.astype(np.float32) for name, value in zip(NAMES, values, strict=True)
        }
    return parameters


def check(network: Network, parameters: Parameters, name: str) -> None:
    """Refuses parameters that do not fit the table.

    Raises:
        WeightsError: The tensor that is missing, has another shape, or holds a NaN, by name.
    """
    for layer in network.layers[:-1]:
        own = parameters.get(layer.name, {})
        for key, shape in _shapes(layer).items():
            if key not in own:
                raise WeightsError(f"{name} has no tensor {layer.name}:{key}")
            if own[key].shape != shape:
                raise WeightsError(
                    f"{name}: tensor {layer.name}:{key} has shape {list(own[key].shape)}, the "
                    f"network of width {network.width:g} takes {list(shape)}"
                )
            if not np.isfinite(own[key]).all():
                raise WeightsError(f"{name}: tensor {layer.name}:{key} holds NaN or infinity")
        if (own["variance"] < 0).any():
            raise WeightsError(f"{name}: tensor {layer.name}:variance is negative")


def _shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    return {"weight": layer.weight_shape} | {key: (layer.out_channels,) for key in NAMES[1:]}


def _read_npz(path: Path) -> Parameters:
    parameters: Parameters = {}
    try:
        for name, array in npz.read(files.read(path, _SIZE_LIMIT_BYTES), _UNPACKED_LIMIT).items():
            layer, _, key = name.rpartition(":")
            parameters.setdefault(layer, {})[key] = _float32(array, name)
    except _DAMAGE as error:
        raise WeightsError(f"{path} is not a readable .npz of weights: {error}") from error
    if "weight" not in parameters.get("conv1", {}):
        raise WeightsError(f"{path} has no tensor conv1:weight; it is not a MobileNet-V1")
    return parameters


def _read_keras(path: Path) -> Parameters:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"reading {path} needs h5py; install it with: pip install 'qlrjax[keras]'"
        ) from error
    template = mobilenet_v1()
    parameters: Parameters = {}
    try:
        with h5py.File(path, "r") as file:
            tensors = _keras_tensors(file)
    except _DAMAGE as error:
        raise WeightsError(f"{path} is not a readable HDF5 file: {error}") from error
    for layer in template.layers[:-1]:
        name, kernel = _keras_names(layer)
        own = {"weight": _keras_kernel(layer, _keras_tensor(tensors, name, kernel, path), path)}
        for key, keras_key in _KERAS_BATCH_NORM.items():
            own[key] = _keras_tensor(tensors, f"{name}_bn", keras_key, path)
        parameters[layer.name] = own
    return parameters


def _keras_kernel(layer: Layer, raw: np.ndarray, path: Path) -> np.ndarray:
    """Keras' four axes as ours; a larger kernel or multiplier would lose weights unseen."""
    match layer.kind:
        case "depthwise":
            fits, wanted = raw.ndim == 4 and raw.shape[3] == 1, "[3, 3, channels, 1]"
        case "pointwise":
            fits, wanted = raw.ndim == 4 and raw.shape[:2] == (1, 1), "[1, 1, in, out]"
        case _:
            return raw
    if not fits:
        name, kernel = _keras_names(layer)
        raise WeightsError(
            f"{path}: tensor {name}/{kernel} has shape {list(raw.shape)}, Keras' MobileNet-V1 "
            f"has {wanted}"
        )
    return raw[..., 0] if layer.kind == "depthwise" else raw[0, 0]


def _float32(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise ValueError(f"{name} holds {array.dtype}, not floats")
    with np.errstate(over="ignore"):  # becomes infinity, which `check` names
        return array.astype(np.float32)


def _keras_names(layer: Layer) -> tuple[str, str]:
    """Layer name and name of its kernel in Keras' application files."""
    block = (layer.index + 1) // 2
    match layer.kind:
        case "conv":
            return "conv1", "kernel"
        case "depthwise":
            return f"conv_dw_{block}", "depthwise_kernel"
        case _:
            return f"conv_pw_{block}", "kernel"


def _keras_tensors(file: Any) -> dict[tuple[str, str], np.ndarray]:
    """(layer, tensor) to array, wherever the file nests them."""
    found: dict[tuple[str, str], np.ndarray] = {}
    total = [0]  # a sparse file of a kilobyte can claim any size

    def visit(path: str, node: Any) -> None:
        if hasattr(node, "shape"):
            parts = path.split("/")
            key = (parts[0] if len(parts) < 3 else parts[-2], parts[-1].split(":")[0])
            if node.dtype.kind == "f":
                total[0] += node.size * 4
                if total[0] > _UNPACKED_LIMIT:
                    raise ValueError(
                        f"its arrays would take over {_UNPACKED_LIMIT} bytes, more than any "
                        "MobileNet-V1"
                    )
                found[key] = _float32(np.asarray(node), path)

    file.visititems(visit)
    return found


def _keras_tensor(
    tensors: dict[tuple[str, str], np.ndarray], layer: str, key: str, path: Path
) -> np.ndarray:
    if (layer, key) not in tensors:
        raise WeightsError(f"{path} has no tensor {layer}/{key}; it is not Keras' MobileNet-V1")
    return tensors[layer, key]
