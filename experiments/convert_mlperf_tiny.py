"""Makes the built-in ResNet8 and DS-CNN from MLPerf Tiny's files, and compares both with TFLite.

Source: mlcommons/tiny at 1afd2c9 (Apache-2.0): `pretrainedResnet.h5` (float, Keras) and
`kws_ref_model_float32.tflite`, whose convolutions are int8 weights with one scale a layer and whose
activations are float. Needs h5py and, for the TFLite files, ai-edge-litert (the dev group has the
first; the second is for this script only: pip install ai-edge-litert).

    python experiments/convert_mlperf_tiny.py ../shared/data/networks/mlperf_tiny src/qlrjax/assets

Recorded 2026-11-25 over 64 random inputs: the largest difference of a probability is printed, and
how many of the likeliest classes agree: ResNet8 with its float TFLite file, DS-CNN with its own
(TFLite quantizes the activations of such "hybrid" convolutions as it runs, so they differ a little)
and with its int8 file. Figures: docs/networks.md.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np

from qlrjax import report
from qlrjax.network import Network, ds_cnn, floating, resnet8
from qlrjax.weights import keras

RESNET8 = {
    "stem": ("conv2d", "batch_normalization"),
    "b0/conv1": ("conv2d_1", "batch_normalization_1"),
    "b0/conv2": ("conv2d_2", "batch_normalization_2"),
    "b1/conv1": ("conv2d_3", "batch_normalization_3"),
    "b1/conv2": ("conv2d_4", "batch_normalization_4"),
    "b1/shortcut": ("conv2d_5", None),
    "b2/conv1": ("conv2d_6", "batch_normalization_5"),
    "b2/conv2": ("conv2d_7", "batch_normalization_6"),
    "b2/shortcut": ("conv2d_8", None),
}


def read_resnet8(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Parameters by our layer names; a bias before a batch norm goes into its mean."""
    with h5py.File(path, "r") as file:
        tensors = keras.tensors_of(file["model_weights"])
    parameters = {}
    for layer, (conv, norm) in RESNET8.items():
        own = {"weight": tensors[conv, "kernel"], "bias": tensors[conv, "bias"]}
        if norm:
            own |= {
                "gamma": tensors[norm, "gamma"],
                "beta": tensors[norm, "beta"],
                "mean": tensors[norm, "moving_mean"] - own.pop("bias"),
                "variance": tensors[norm, "moving_variance"],
            }
        parameters[layer] = own
    dense = {"weight": tensors["dense", "kernel"], "bias": tensors["dense", "bias"]}
    return parameters | {"linear": dense}


def interpreter(path: Path) -> Any:
    """TFLite's interpreter without its optimised kernels, ready to run."""
    from ai_edge_litert import interpreter as litert  # pyright: ignore[reportMissingImports]

    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = litert.Interpreter(str(path), experimental_op_resolver_type=plain)
    made.allocate_tensors()
    return made


def read_ds_cnn(path: Path, network: Network) -> dict[str, dict[str, np.ndarray]]:
    """Parameters by our layer names, in the order of the file's products."""
    made = interpreter(path)
    details = {row["index"]: row for row in made.get_tensor_details()}
    products = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    operators = [row for row in made._get_ops_details() if row["op_name"] in products]
    parameters = {}
    for layer, operator in zip(network.layers, operators, strict=True):
        weight_at, bias_at = (int(at) for at in operator["inputs"][1:3])
        weight = made.get_tensor(weight_at).astype(np.float32)
        scale = details[weight_at]["quantization"][0]
        weight = weight * np.float32(scale) if scale else weight
        if layer.kind == "depthwise":
            weight = weight[0]
        elif weight.ndim == 4:
            weight = weight.transpose(1, 2, 3, 0)
        else:
            weight = weight.T
        parameters[layer.name] = {
            "weight": weight.reshape(layer.weight_shape),
            "bias": made.get_tensor(bias_at).astype(np.float32),
        }
    return parameters


def run_tflite(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Probabilities of real-valued inputs."""
    made = interpreter(path)
    (first,), (last,) = made.get_input_details(), made.get_output_details()
    rows = []
    for sample in inputs:
        scale, zero = first["quantization"]
        if scale:
            sample = np.clip(np.round(sample / scale + zero), -128, 127)
        made.set_tensor(first["index"], sample[None].astype(first["dtype"]))
        made.invoke()
        scale, zero = last["quantization"]
        row = made.get_tensor(last["index"])[0].astype(np.float64)
        rows.append((row - zero) * scale if scale else row)
    return np.stack(rows)


def compare(
    network: Network, parameters: dict[str, dict[str, np.ndarray]], codes: np.ndarray, path: Path
) -> None:
    logits = np.asarray(floating.classify(network, parameters, jnp.asarray(codes)), np.float64)
    own = np.exp(logits - logits.max(axis=1, keepdims=True))
    own /= own.sum(axis=1, keepdims=True)
    real = (codes - np.asarray(network.pixel_mean)) / np.asarray(network.pixel_std)
    theirs = run_tflite(path, real)
    same = int((own.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    print(
        f"{network.name} and {path.name}: probabilities differ by at most "
        f"{np.abs(own - theirs).max():.2e}; {same} of {len(codes)} likeliest classes agree"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    made = {
        resnet8(): (
            read_resnet8(arguments.folder / "pretrainedResnet.h5"),
            random.integers(0, 256, (64, 32, 32, 3)).astype(np.uint8),
            ["pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"],
        ),
        ds_cnn(): (
            read_ds_cnn(arguments.folder / "kws_ref_model_float32.tflite", ds_cnn()),
            np.clip(random.normal(211, 25, (64, 49, 10, 1)), 0, 255).astype(np.uint8),
            ["kws_ref_model_float32.tflite", "kws_ref_model.tflite"],
        ),
    }
    for network, (parameters, codes, files) in made.items():
        arrays = {
            f"{layer}:{key}": array
            for layer, own in parameters.items()
            for key, array in own.items()
        }
        out = arguments.out / f"{network.name}.npz"
        report.write_npz(out, arrays)
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        print(f"{out}: {out.stat().st_size} bytes, SHA-256 {digest}")
        for name in files:
            compare(network, parameters, codes, arguments.folder / name)


if __name__ == "__main__":
    main()
