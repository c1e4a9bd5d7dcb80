"""Keras' own MobileNet-V1 files, such as mobilenet_1_0_128_tf_no_top.h5; they need h5py."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax.network import Layer, mobilenet_v1
from qlrjax.weights.parameters import UNPACKED_LIMIT, Parameters, WeightsError, float32

_BATCH_NORM = {
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}
# Whatever h5py may raise on damaged bytes, wherever the damage lies.
_DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, struct.error)


def read(path: Path) -> Parameters:
    """Parameters of a Keras MobileNet-V1.

    Raises:
        WeightsError: h5py is missing, or the file is damaged or of another network.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"reading {path} needs h5py; install it with: pip install 'qlrjax[keras]'"
        ) from error
    parameters: Parameters = {}
    try:
        with h5py.File(path, "r") as file:
            tensors = tensors_of(file)
    except _DAMAGE as error:
        raise WeightsError(f"{path} is not a readable HDF5 file: {error}") from error
    for layer in mobilenet_v1().layers[:-1]:
        name, kernel = _names(layer)
        own = {"weight": _kernel(layer, _tensor(tensors, name, kernel, path), path)}
        for key, keras_key in _BATCH_NORM.items():
            own[key] = _tensor(tensors, f"{name}_bn", keras_key, path)
        parameters[layer.name] = own
    return parameters


def tensors_of(file: Any) -> dict[tuple[str, str], np.ndarray]:
    """(layer, tensor) to array, wherever the open h5py file nests them."""
    found: dict[tuple[str, str], np.ndarray] = {}
    total = [0]  # a sparse file of a kilobyte can claim any size

    def visit(path: str, node: Any) -> None:
        if hasattr(node, "shape"):
            parts = path.split("/")
            key = (parts[0] if len(parts) < 3 else parts[-2], parts[-1].split(":")[0])
            if node.dtype.kind == "f":
                total[0] += node.size * 4
                if total[0] > UNPACKED_LIMIT:
                    raise ValueError(
                        f"its arrays would take over {UNPACKED_LIMIT} bytes, more than any "
                        "MobileNet-V1"
                    )
                found[key] = float32(np.asarray(node), path)

    file.visititems(visit)
    return found


def _kernel(layer: Layer, raw: np.ndarray, path: Path) -> np.ndarray:
    """Keras' four axes as ours; a larger kernel or multiplier would lose weights unseen."""
    match layer.kind:
        case "depthwise":
            fits, wanted = raw.ndim == 4 and raw.shape[3] == 1, "[3, 3, channels, 1]"
        case "pointwise":
            fits, wanted = raw.ndim == 4 and raw.shape[:2] == (1, 1), "[1, 1, in, out]"
        case _:
            return raw
    if not fits:
        name, kernel = _names(layer)
        raise WeightsError(
            f"{path}: tensor {name}/{kernel} has shape {list(raw.shape)}, Keras' MobileNet-V1 "
            f"has {wanted}"
        )
    return raw[..., 0] if layer.kind == "depthwise" else raw[0, 0]


def _names(layer: Layer) -> tuple[str, str]:
    """Layer name and name of its kernel in Keras' application files."""
    block = (layer.index + 1) // 2
    match layer.kind:
        case "conv":
            return "conv1", "kernel"
        case "depthwise":
            return f"conv_dw_{block}", "depthwise_kernel"
        case _:
            return f"conv_pw_{block}", "kernel"


def _tensor(
    tensors: dict[tuple[str, str], np.ndarray], layer: str, key: str, path: Path
) -> np.ndarray:
    if (layer, key) not in tensors:
        raise WeightsError(f"{path} has no tensor {layer}/{key}; it is not Keras' MobileNet-V1")
    return tensors[layer, key]
