"""The frozen stage of a run on disk: one .npz of arrays and JSON, nothing that can execute."""

import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from qlrjax import files, npz, room
from qlrjax.integer import contract, frozen
from qlrjax.integer.extractor import Extractor
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut, Network, described, mobilenet_v1
from qlrjax.room import Need

Parameters = dict[str, dict[str, np.ndarray]]

_ARRAYS = ("weight", "kappa", "lam", "pad_value")
_DAMAGE = (
    *(OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError),
    RecursionError,
)
SIZE_LIMIT_BYTES = 256 * 2**20
_WIDTH_AT_MOST, _SIDE_AT_MOST = 64, 2**16


def dump(extractor: Extractor) -> bytes:
    """The extractor and its network, without the number of classes, as the bytes of an .npz."""
    stage = extractor.quantized.stage
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for index, layer in enumerate(stage):
        arrays |= {f"{index}/{name}": np.asarray(getattr(layer, name)) for name in _ARRAYS}
        if layer.kappa_b is not None:
            arrays[f"{index}/kappa_b"] = np.asarray(layer.kappa_b)
        row = {
            name: getattr(layer, name) for name in ("kind", "stride", "padding", "shift", "bits")
        }
        # Said only where it is: a MobileNet-V1's file is what it was before there were graphs.
        row |= {"window": layer.window} if layer.window != (1, 1) else {}
        row |= {"inputs": layer.inputs} if layer.inputs else {}
        rows.append(row)
    for name, parameters in (extractor.parameters or {}).items():
        arrays |= {f"float/{name}/{key}": np.asarray(value) for key, value in parameters.items()}
    meta: dict[str, Any] = {
        "latent_layer": extractor.cut.latent_layer,
        "ranges": extractor.quantized.ranges,
        "layers": rows,
        "float": extractor.parameters is not None,
        "network": _conventions(extractor.cut.network),
    }
    if extractor.quantized.zeros:
        meta["zeros"] = extractor.quantized.zeros
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load(path: Path, classes: int) -> Extractor:
    """Reads what `dump` wrote, for a network with the given number of classes.

    Raises:
        ValueError: The file is missing, damaged, or holds a stage that breaks the contract.
    """
    try:
        data = files.read(path, SIZE_LIMIT_BYTES)
    except _DAMAGE as error:
        raise ValueError(
            f"the frozen stage {path} cannot be read ({error}); start the run anew"
        ) from error
    return parse(data, classes, str(path))


def parse(data: bytes, classes: int, path: str) -> Extractor:
    """The same of bytes; `path` is for the sentence.

    Raises:
        ValueError: They are damaged, or hold a stage that breaks the contract.
    """
    try:
        arrays = npz.read(data, SIZE_LIMIT_BYTES)
        meta = json.loads(arrays["meta"].tobytes())
        stage = tuple(_layer(row, index, arrays) for index, row in enumerate(meta["layers"]))
        parameters = _float_parameters(arrays) if meta["float"] else None
        ranges = tuple(float(value) for value in meta["ranges"])
        quantized = QuantizedStage(stage, ranges, tuple(int(z) for z in meta.get("zeros", ())))
        cut = Cut(_network(meta["network"], classes), int(meta["latent_layer"]))
    except _DAMAGE as error:
        raise ValueError(
            f"the frozen stage {path} cannot be read ({error}); start the run anew"
        ) from error
    shapes = contract.check_stage(stage, in_shape=cut.image_shape)
    if shapes and shapes[-1] != cut.latent_shape:
        raise ValueError(
            f"the frozen stage {path} gives {shapes[-1]}, and layer {cut.latent_layer} takes "
            f"{cut.latent_shape}; start the run anew"
        )
    values = [np.asarray(quantized.ranges), *_values(parameters)]
    if not all(np.isfinite(array).all() for array in values):
        raise ValueError(f"the frozen stage {path} holds NaN or infinity; start the run anew")
    return Extractor(cut, quantized, parameters)


def _conventions(network: Network) -> dict[str, Any]:
    if network.name != "mobilenet_v1":
        return {"graph": described.to_values(network)}
    return {
        "width": network.width,
        "resolution": network.in_hw,
        "activation": network.activation,
        "padding_convention": network.padding_convention,
        "bn_epsilon": network.bn_epsilon,
        "pixel_mean": network.pixel_mean,
        "pixel_std": network.pixel_std,
    }


def _network(conventions: dict[str, Any], classes: int) -> Network:
    if "graph" in conventions:
        return described.from_values(conventions["graph"], classes)
    said = dict(conventions)
    said["resolution"] = tuple(said["resolution"])
    if not 0 < said["width"] <= _WIDTH_AT_MOST or max(said["resolution"]) > _SIDE_AT_MOST:
        raise ValueError("its network is larger than any that is trained")
    pixels = tuple(said.pop("pixel_mean")), tuple(said.pop("pixel_std"))
    network = mobilenet_v1(**said, pixels=pixels, classes=classes)
    weights = sum(layer.weights for layer in network.layers)
    room.check([Need("the weights of the run's network", 4 * weights)])
    return network


def _layer(row: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> frozen.IntegerLayer:
    (top, bottom), (left, right) = row["padding"]
    height, width = row.get("window", (1, 1))
    second = arrays.get(f"{index}/kappa_b")
    return frozen.IntegerLayer(
        weight=jnp.asarray(arrays[f"{index}/weight"]),
        kappa=jnp.asarray(arrays[f"{index}/kappa"]),
        lam=jnp.asarray(arrays[f"{index}/lam"]),
        pad_value=jnp.asarray(arrays[f"{index}/pad_value"]),
        kappa_b=None if second is None else jnp.asarray(second),
        window=(height, width),
        inputs=tuple(row.get("inputs", ())),
        kind=row["kind"],
        stride=row["stride"],
        padding=((top, bottom), (left, right)),
        shift=row["shift"],
        bits=row["bits"],
    )


def _values(parameters: Parameters | None) -> list[np.ndarray]:
    return [array for layer in (parameters or {}).values() for array in layer.values()]


def _float_parameters(arrays: dict[str, np.ndarray]) -> Parameters:
    parameters: Parameters = {}
    for name, value in arrays.items():
        if name.startswith("float/"):
            layer, _, key = name.removeprefix("float/").rpartition("/")
            parameters.setdefault(layer, {})[key] = value
    return parameters
