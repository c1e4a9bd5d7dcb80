"""A session as a folder of C99: what an embedded engineer would start from.

The folder holds headers of arrays (weights, kappa, lambda, shifts, packed replays, trained
parameters) and a small portable program without dependencies or heap: the frozen stage, the replay
memory and one FP32 training step. `cc -std=c99 -O2 *.c -lm -o qlr` builds it.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files
from qlrjax.export.c import layout as c_layout
from qlrjax.export.c import sizes as c_sizes
from qlrjax.export.c import text as c_text
from qlrjax.export.c.layout import Offsets, StepSettings
from qlrjax.integer import contract
from qlrjax.integer.frozen import IntegerLayer, Stage
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut
from qlrjax.training import adaptive, replay
from qlrjax.training.replay import ReplayMemory

# Beyond this a C compiler takes minutes for the header; the bytes then go to REPLAY_FILE.
_HEADER_LIMIT_BYTES = 4 * 2**20
_REPLAY_FILE = "replay.bin"
_KINDS = {"conv": "QLR_CONV", "depthwise": "QLR_DEPTHWISE", "pool": "QLR_POOL"}


def export(
    folder: Path,
    cut: Cut,
    quantized: QuantizedStage,
    memory: ReplayMemory,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    step: StepSettings,
) -> dict[str, int]:
    """Writes the folder.

    Args:
        folder: Created if missing; files of the same names are replaced.
        cut: The network and where it is cut.
        quantized: Integer layers below the cut, and what the latents' codes mean.
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
    stage, latent = quantized.stage, cut.latent_shape
    shapes = contract.check_stage(stage, cut.image_shape)
    if (shapes[-1] if shapes else cut.image_shape) != latent or memory.shape != latent:
        raise ValueError(
            f"the stage gives {shapes[-1:]}, the memory holds {memory.shape} and layer "
            f"{cut.latent_layer} takes {latent}: they are not of one session"
        )
    if memory.bits == replay.FLOAT_BITS:
        raise ValueError(
            "the C program reads packed codes, and this session stores float32 latents; choose a "
            "session with 1 to 8 bits"
        )
    offsets = Offsets.of(cut, step.minibatch)
    texts = {
        "net.h": c_layout.net(cut, quantized, shapes, memory, step, offsets, _replay_file(memory)),
        "frozen_data.h": _frozen_data(stage, cut.image_shape, shapes),
        "replay_data.h": _replay_data(memory),
        "adaptive_data.h": _adaptive_data(cut, params, statistics, offsets),
    }
    sources = resources.files("qlrjax.export.c") / "sources"
    for source in sources.iterdir():
        if source.name.endswith((".c", ".h")):
            texts[source.name] = source.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        files.write_atomic(folder / name, text)
    if _replay_file(memory):
        files.write_atomic(folder / _REPLAY_FILE, np.asarray(memory.data).tobytes())
    sections = c_layout.sections(cut, stage, shapes, memory, offsets)
    files.write_atomic(folder / "SIZES.md", c_sizes.table(sections) + "\n")
    return sections


def c_weights(kind: str, weight: np.ndarray) -> np.ndarray:
    """Weights in C's order: (Cout, kh, kw, Cin), depthwise (C, kh, kw), linear (Cout, Cin)."""
    if weight.ndim == 4:
        return weight.transpose(3, 0, 1, 2)
    return weight.transpose(2, 0, 1) if kind == "depthwise" else weight.T


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
    return c_text.guarded("FROZEN_DATA", "Integer layers below the cut.", "\n".join(parts))


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
    data = np.zeros(0, np.uint8) if _replay_file(memory) else np.asarray(memory.data)
    body = c_text.array("replay_memory", data, const=False, size=size)
    body += c_text.array(
        "replay_labels", np.asarray(memory.labels), const=False, size="REPLAY_SLOTS + 1"
    )
    return c_text.guarded(
        "REPLAY_DATA", "Packed latents and their classes; -1 is a free slot.", body
    )


def _adaptive_data(
    cut: Cut,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    offsets: Offsets,
) -> str:
    flat, rows = [], []
    for layer in cut.normalised:
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
        running = [np.asarray(statistics[layer.name][key], np.float32) for layer in cut.normalised]
        joined = np.concatenate([np.zeros(0, np.float32), *running])
        parts.append(c_text.array(name, joined, const=False, size="ADAPTIVE_CHANNELS + 1"))
    parts.append(c_text.table("adaptive_layer", "adaptive_layers", "ADAPTIVE_LAYERS", rows))
    title = f"Trained parameters and running statistics; {cut.classes} classes."
    return c_text.guarded("ADAPTIVE_DATA", title, "\n".join(parts))


def _replay_file(memory: ReplayMemory) -> str | None:
    return _REPLAY_FILE if memory.bytes > _HEADER_LIMIT_BYTES else None
