"""A session as a folder of C99: what an embedded engineer would start from.

The folder holds headers of arrays (weights, kappa, lambda, shifts, packed replays, trained
parameters) and a small portable program without dependencies or heap: the frozen stage, the replay
memory and one FP32 training step. `cc -std=c99 -O2 *.c -lm -o qlr` builds it.
"""

import dataclasses
import itertools
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import adaptive, contract, quantize, replay, runfolder
from qlrjax.export import c_text
from qlrjax.frozen import IntegerLayer, Stage
from qlrjax.network import Layer, Network
from qlrjax.replay import ReplayMemory

# Beyond this a C compiler takes minutes for the header; the bytes then go to REPLAY_FILE.
_HEADER_LIMIT_BYTES = 4 * 2**20
_REPLAY_FILE = "replay.bin"
_KINDS = {"conv": "QLR_CONV", "depthwise": "QLR_DEPTHWISE", "pool": "QLR_POOL"}


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Settings of the exported training step; see `learner.Protocol` for most of them.

    Attributes:
        minibatch: Largest number of latents in a step; the static buffers are made for it.
        batch_statistics: False normalises by the running statistics and leaves them alone.
        train_layers: False trains the head only.
    """

    minibatch: int
    learning_rate: float
    momentum: float
    weight_decay: float
    renorm_momentum: float
    r_max: float
    d_max: float
    batch_statistics: bool = True
    train_layers: bool = True


def export(
    folder: Path,
    network: Network,
    latent_layer: int,
    stage: Stage,
    latent_max: float,
    memory: ReplayMemory,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    step: StepSettings,
) -> dict[str, int]:
    """Writes the folder.

    Args:
        folder: Created if missing; files of the same names are replaced.
        network: The table.
        latent_layer: The cut.
        stage: Integer layers below the cut.
        latent_max: Real value of the largest latent code.
        memory: Replay memory of packed codes.
        params: Trained parameters.
        statistics: Running statistics of batch renorm.
        step: Settings of the training step.

    Returns:
        Bytes of every section, see `c_sizes`.

    Raises:
        ValueError: The memory holds floats, or does not fit the latents of this cut.
        ContractViolation: The stage is not a valid one.
    """
    shapes = contract.check_stage(stage, (*network.in_hw, 3))
    latent = network.latent_shape(latent_layer)
    if (shapes[-1] if shapes else (*network.in_hw, 3)) != latent or memory.shape != latent:
        raise ValueError(
            f"the stage gives {shapes[-1:]}, the memory holds {memory.shape} and layer "
            f"{latent_layer} takes {latent}: they are not of one session"
        )
    if memory.bits == replay.FLOAT_BITS:
        raise ValueError(
            "the C program reads packed codes, and this session stores float32 latents; choose a "
            "session with 1 to 8 bits"
        )
    layers = network.adaptive(latent_layer)[:-1]
    offsets = _Offsets.of(network, layers, latent, step.minibatch)
    texts = {
        "net.h": _net(network, latent_layer, stage, shapes, latent_max, memory, step, offsets),
        "frozen_data.h": _frozen_data(stage, (*network.in_hw, 3), shapes),
        "replay_data.h": _replay_data(memory),
        "adaptive_data.h": _adaptive_data(network, layers, params, statistics, offsets),
    }
    sources = resources.files("qlrjax.export") / "c"
    for source in sources.iterdir():
        if source.name.endswith((".c", ".h")):
            texts[source.name] = source.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        runfolder.write_atomic(folder / name, text)
    if memory.bytes > _HEADER_LIMIT_BYTES:
        runfolder.write_atomic(folder / _REPLAY_FILE, np.asarray(memory.data).tobytes())
    return _sections(network, stage, shapes, memory, latent, offsets)


def c_weights(kind: str, weight: np.ndarray) -> np.ndarray:
    """Weights in C's order: [Cout][kh][kw][Cin], depthwise [C][kh][kw], linear [Cout][Cin]."""
    if weight.ndim == 4:
        return weight.transpose(3, 0, 1, 2)
    return weight.transpose(2, 0, 1) if kind == "depthwise" else weight.T


@dataclasses.dataclass(frozen=True)
class _Offsets:
    """Where everything of the adaptive stage lies, in floats."""

    parameters: dict[str, dict[str, int]]
    head: int
    total: int
    channels: dict[str, int]
    all_channels: int
    arena: dict[str, dict[str, int]]
    features: int
    arena_floats: int
    gradient_floats: int

    @classmethod
    def of(
        cls, network: Network, layers: tuple[Layer, ...], latent: tuple[int, int, int], batch: int
    ) -> "_Offsets":
        parameters, channels, arena = {}, {}, {}
        at = channel = used = 0
        for layer in layers:
            c = layer.out_channels
            gamma = at + layer.weights
            parameters[layer.name] = {"weight": at, "gamma": gamma, "beta": gamma + c}
            channels[layer.name] = channel
            normal = used + batch * layer.in_elements
            arena[layer.name] = {"input": used, "normal": normal}
            at, channel, used = gamma + 2 * c, channel + c, normal + batch * layer.out_elements
        last = layers[-1].out_elements if layers else latent[0] * latent[1] * latent[2]
        largest = max([last, *(max(row.in_elements, row.out_elements) for row in layers)])
        head = network.layers[-1].weights
        return cls(parameters, at, at + head, channels, channel, arena, used,
                   used + batch * last, batch * largest)  # fmt: skip


def _net(
    network: Network,
    latent_layer: int,
    stage: Stage,
    shapes: list[tuple[int, int, int]],
    latent_max: float,
    memory: ReplayMemory,
    step: StepSettings,
    offsets: _Offsets,
) -> str:
    height, width, channels = memory.shape
    elements = height * width * channels
    pixels = network.pool_hw if latent_layer < network.last else (height, width)
    values: dict[str, object] = {
        "IMAGE_H": network.in_hw[0], "IMAGE_W": network.in_hw[1], "IMAGE_C": 3,
        "FROZEN_LAYERS": len(stage),
        "FROZEN_BUFFER": max([1, *(int(np.prod(shape)) for shape in shapes)]),
        "LATENT_C": channels, "LATENT_ELEMENTS": elements,
        "LATENT_STEP": float(np.float32(quantize.latent_scale(latent_max, 8))),
        "LATENT_BITS": memory.bits, "LATENT_BYTES": replay.latent_bytes(elements, memory.bits),
        "REPLAY_STEP": float(np.float32(quantize.latent_scale(memory.latent_max, memory.bits))),
        "REPLAY_SLOTS": memory.slots, "REPLAYS": int(memory.filled),
        "ADAPTIVE_LAYERS": len(offsets.channels), "ADAPTIVE_PARAMS": offsets.total,
        "ADAPTIVE_CHANNELS": offsets.all_channels, "HEAD_AT": offsets.head,
        "FEATURES": network.layers[-1].in_channels, "FEATURES_AT": offsets.features,
        "FEATURE_PIXELS": pixels[0] * pixels[1], "CLASSES": network.classes,
        "MINIBATCH": step.minibatch, "ARENA_FLOATS": offsets.arena_floats,
        "GRADIENT_FLOATS": offsets.gradient_floats,
        "RELU_MAX": 6.0 if network.activation == "relu6" else "INFINITY",
        "BN_EPSILON": network.bn_epsilon, "LEARNING_RATE": step.learning_rate,
        "MOMENTUM": step.momentum, "WEIGHT_DECAY": step.weight_decay,
        "RENORM_MOMENTUM": step.renorm_momentum, "R_MAX": step.r_max, "D_MAX": step.d_max,
        "BATCH_STATISTICS": int(step.batch_statistics and step.train_layers),
        "TRAIN_LAYERS": int(step.train_layers),
    }  # fmt: skip
    if latent_layer == 0:
        for name, row in (("IMAGE_MEAN", network.pixel_mean), ("IMAGE_STD", network.pixel_std)):
            values[name] = "{" + ", ".join(f"{value:.8e}f" for value in row) + "}"
    if memory.bytes > _HEADER_LIMIT_BYTES:
        values["REPLAY_FILE"] = f'"{_REPLAY_FILE}"'
    title = (
        f"Sizes and settings of a MobileNet-V1 of width {network.width:g}, cut at layer "
        f"{latent_layer}.\n * Sizes are in elements unless they say BYTES; STEP is the value of "
        "one code."
    )
    return _guarded("NET", title, c_text.macros(values))


def _frozen_data(
    stage: Stage, in_shape: tuple[int, int, int], shapes: list[tuple[int, int, int]]
) -> str:
    parts, rows = [], []
    for index, (layer, x, y) in enumerate(zip(stage, [in_shape, *shapes], shapes, strict=False)):
        name = f"frozen{index:02d}"
        if layer.kind != "pool":
            weight = c_weights(layer.kind, np.asarray(layer.weight))
            parts.append(c_text.array(f"{name}_weight", weight))
        parts.append(c_text.array(f"{name}_kappa", np.asarray(layer.kappa)))
        parts.append(c_text.array(f"{name}_lambda", np.asarray(layer.lam)))
        parts.append(c_text.array(f"{name}_pad", np.asarray(layer.pad_value)))
        rows.append(c_text.struct({
            "shape": _integer_shape(layer, x, y), "shift": layer.shift,
            "code_max": 2**layer.bits - 1,
            "weight": "NULL" if layer.kind == "pool" else f"{name}_weight",
            "kappa": f"{name}_kappa", "lambda": f"{name}_lambda", "pad_value": f"{name}_pad",
        }))  # fmt: skip
    parts.append(c_text.table("frozen_layer", "frozen_layers", "FROZEN_LAYERS", rows))
    return _guarded("FROZEN_DATA", "Integer layers below the cut.", "\n".join(parts))


def _integer_shape(
    layer: IntegerLayer, x: tuple[int, int, int], y: tuple[int, int, int]
) -> dict[str, object]:
    kernel = {"conv": layer.weight.shape[:2], "depthwise": layer.weight.shape[:2], "pool": x[:2]}
    return _shape(layer.kind, x, y, kernel.get(layer.kind, (1, 1)), layer.stride, layer.padding)


def _shape(
    kind: str, x: tuple[int, ...], y: tuple[int, ...], kernel: Any, stride: int, padding: Any
) -> dict[str, object]:
    return {
        "kind": _KINDS.get(kind, "QLR_POINTWISE"),
        "in_h": x[0], "in_w": x[1], "in_c": x[2], "out_h": y[0], "out_w": y[1], "out_c": y[2],
        "kernel_h": kernel[0], "kernel_w": kernel[1], "stride": stride,
        "pad_top": padding[0][0], "pad_left": padding[1][0],
    }  # fmt: skip


def _replay_data(memory: ReplayMemory) -> str:
    size = "REPLAY_SLOTS * LATENT_BYTES + 1"
    small = memory.bytes <= _HEADER_LIMIT_BYTES
    data = np.asarray(memory.data) if small else np.zeros(0, np.uint8)
    body = c_text.array("replay_memory", data, const=False, size=size)
    body += c_text.array(
        "replay_labels", np.asarray(memory.labels), const=False, size="REPLAY_SLOTS + 1"
    )
    return _guarded("REPLAY_DATA", "Packed latents and their classes; -1 is a free slot.", body)


def _adaptive_data(
    network: Network,
    layers: tuple[Layer, ...],
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    offsets: _Offsets,
) -> str:
    flat, rows = [], []
    for layer in layers:
        own = params["layers"][layer.name]
        flat += [c_weights(layer.kind, np.asarray(own["weight"])), own["gamma"], own["beta"]]
        rows.append(c_text.struct({
            "shape": _shape(layer.kind, layer.in_shape, layer.out_shape, (layer.kernel,) * 2,
                            layer.stride, layer.padding),
            **offsets.parameters[layer.name], "channel": offsets.channels[layer.name],
            **offsets.arena[layer.name],
        }))  # fmt: skip
    flat.append(np.asarray(params["head"]).T)
    values = np.concatenate([np.asarray(part, np.float32).ravel() for part in flat])
    parts = [c_text.array("params", values, const=False, size="ADAPTIVE_PARAMS")]
    for name, key in (("means", "mean"), ("deviations", "std")):
        running = [np.asarray(statistics[layer.name][key], np.float32) for layer in layers]
        joined = np.concatenate([np.zeros(0, np.float32), *running])
        parts.append(c_text.array(name, joined, const=False, size="ADAPTIVE_CHANNELS + 1"))
    parts.append(c_text.table("adaptive_layer", "adaptive_layers", "ADAPTIVE_LAYERS", rows))
    title = f"Trained parameters and running statistics; {network.classes} classes."
    return _guarded("ADAPTIVE_DATA", title, "\n".join(parts))


def _guarded(name: str, title: str, body: str) -> str:
    guard = f"QLR_{name}_H"
    note = f"/* {title}\n * Generated by qlrjax. */"
    return f"{note}\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"


def _sections(
    network: Network,
    stage: Stage,
    shapes: list[tuple[int, int, int]],
    memory: ReplayMemory,
    latent: tuple[int, int, int],
    offsets: _Offsets,
) -> dict[str, int]:
    activations = [int(np.prod(shape)) for shape in [(*network.in_hw, 3), *shapes]]
    pairs = [one + other for one, other in itertools.pairwise(activations)]
    return {
        "frozen weights (int8)": sum(layer.weight.size for layer in stage),
        "frozen kappa, lambda, padding": sum(
            8 * layer.kappa.size + layer.pad_value.size for layer in stage
        ),
        "frozen activations, in and out of one layer": max([activations[0], *pairs]),
        "replay memory (packed)": memory.bytes,
        "replay labels": 4 * memory.slots,
        "adaptive parameters and statistics (FP32)": 4 * (offsets.total + 2 * offsets.all_channels),
        "gradients and momentum (FP32)": 8 * offsets.total,
        "activations of one mini-batch (FP32)": 4 * offsets.arena_floats,
        "gradients of activations (FP32)": 8 * offsets.gradient_floats,
    }
