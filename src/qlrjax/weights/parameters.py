"""What pretrained float parameters are, and what makes a set of them fit a network.

Parameters are {layer name: {tensor: float32 array}}. Layers with batch norm have "weight", "gamma",
"beta", "mean" and "variance", the others "weight" and "bias"; layers without weights have none.
Weights are laid out as `Layer.weight_shape` says. The classifier's own weight and bias are kept
where a file has them; learning starts with a new head.
"""

import re
from pathlib import Path

import numpy as np

from qlrjax.network import Layer, Network

Parameters = dict[str, dict[str, np.ndarray]]

NAMES = ("weight", "gamma", "beta", "mean", "variance")
SIZE_LIMIT_BYTES = 128 * 2**20
UNPACKED_LIMIT = 256 * 2**20


class WeightsError(ValueError):
    """A weights file is missing, damaged, or made for another network."""


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a layer."""
    if not layer.has_weights:
        return {}
    names = NAMES[1:] if layer.batch_norm else ("bias",)
    return {"weight": layer.weight_shape} | {name: (layer.out_channels,) for name in names}


def check(network: Network, parameters: Parameters, name: str) -> None:
    """Refuses parameters that do not fit the layers below the classifier.

    Raises:
        WeightsError: The tensor that is missing, has another shape, or holds a NaN, by name.
    """
    for layer in network.layers[:-1]:
        own = parameters.get(layer.name, {})
        for key, shape in shapes(layer).items():
            if key not in own:
                raise WeightsError(f"{name} has no tensor {layer.name}:{key}")
            if own[key].shape != shape:
                raise WeightsError(
                    f"{name}: tensor {layer.name}:{key} has shape {list(own[key].shape)}, the "
                    f"network of width {network.width:g} takes {list(shape)}"
                )
            if not np.isfinite(own[key]).all():
                raise WeightsError(f"{name}: tensor {layer.name}:{key} holds NaN or infinity")
        if "variance" in own and (own["variance"] < 0).any():
            raise WeightsError(f"{name}: tensor {layer.name}:variance is negative")


def random(network: Network, seed: int) -> Parameters:
    """He-initialised weights and batch norms near the identity, for tests and tiny networks."""
    generator = np.random.default_rng(seed)
    parameters: Parameters = {}
    for layer in network.layers[:-1]:
        if not layer.has_weights:
            continue
        shape, channels = layer.weight_shape, layer.out_channels
        values = {"weight": generator.normal(0, np.sqrt(2 / layer.fan_in), shape)}
        if layer.batch_norm:
            values |= {
                "gamma": generator.uniform(0.8, 1.2, channels),
                "beta": generator.normal(0.1, 0.1, channels),
                "mean": generator.normal(0, 0.1, channels),
                "variance": generator.uniform(0.5, 1.5, channels),
            }
        else:
            values["bias"] = generator.normal(0.1, 0.1, channels)
        parameters[layer.name] = {key: value.astype(np.float32) for key, value in values.items()}
    return parameters


def check_file(path: Path) -> None:
    """Raises WeightsError unless the file is there and of a believable size."""
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}; give 'builtin', a network's name such as "
            "'efficientnet_lite0', or the path of a .onnx, .h5 or .npz"
        )
    if path.stat().st_size > SIZE_LIMIT_BYTES:
        raise WeightsError(f"{path} is larger than any MobileNet-V1; is it the right file?")


def float32(array: np.ndarray, name: str) -> np.ndarray:
    """The array as float32.

    Raises:
        ValueError: It does not hold floats.
    """
    if array.dtype.kind != "f":
        raise ValueError(f"{name} holds {array.dtype}, not floats")
    with np.errstate(over="ignore"):  # becomes infinity, which `check` names
        return array.astype(np.float32)


RANDOM = re.compile(r"random:(\d+)(?::(\d*\.?\d+))?")
