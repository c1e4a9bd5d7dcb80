"""`qlrjax export`: a run's integer stage as ONNX, C or arrays."""

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal

from qlrjax import learner, runfolder
from qlrjax.export import arrays, c_sizes, c_source, session_arrays
from qlrjax.extractor import Extractor
from qlrjax.learner import LearnerState
from qlrjax.settings import Settings

Format = Literal["onnx", "qdq", "c", "npz"]
NAMES = {"onnx": "frozen.onnx", "qdq": "frozen_qdq.onnx", "c": "c", "npz": "arrays.npz"}


@dataclasses.dataclass(frozen=True)
class Learned:
    """What an export needs of a run.

    Attributes:
        settings: Of the run.
        extractor: Its frozen stage.
        state: Its learner.
        class_names: In label order.
    """

    settings: Settings
    extractor: Extractor
    state: LearnerState
    class_names: tuple[str, ...]


def write(what: Format, out: Path, learned: Learned) -> str:
    """Writes one export and returns what to tell the user.

    Args:
        what: onnx is equal to the run's frozen stage bit for bit; qdq is the form that other
            toolchains read and may be off by one code; c is a folder of C99 with the replay
            memory and a training step; npz is everything as plain arrays.
        out: File, or folder for c.
        learned: The run.

    Raises:
        ValueError: The run has no integer stage, its replays cannot be exported in this form, or
            the extra qlrjax[onnx] is not installed.
    """
    if learned.settings.frozen != "int8":
        raise ValueError(
            "this run's frozen stage is float32, and only integer stages can be exported; learn "
            "with --frozen int8"
        )
    return {"onnx": _onnx, "qdq": _qdq, "c": _c, "npz": _npz}[what](out, learned)


def _onnx(out: Path, learned: Learned) -> str:
    onnx_exact = _needs_onnx("onnx_exact")
    extractor, memory = learned.extractor, learned.state.memory
    model = onnx_exact.export(
        extractor.quantized.stage, (*extractor.network.in_hw, 3), extractor.latent_max,
        min(memory.bits, 8),
    )  # fmt: skip
    _save(out, model.SerializeToString())
    return (
        f"{out}: uint8 images [n, {extractor.network.in_hw[0]}, {extractor.network.in_hw[1]}, 3] "
        f"to {min(memory.bits, 8)}-bit latent codes, bit for bit as this run's frozen stage"
    )


def _qdq(out: Path, learned: Learned) -> str:
    onnx_qdq = _needs_onnx("onnx_qdq")
    quantized, network = learned.extractor.quantized, learned.extractor.network
    model = onnx_qdq.export(quantized.stage, (*network.in_hw, 3), quantized.ranges)
    _save(out, model.SerializeToString())
    return (
        f"{out}: the same stage in QDQ form; codes can differ by one wherever rounding is close, "
        "and later layers carry that on"
    )


def _c(out: Path, learned: Learned) -> str:
    protocol, state, extractor = learned.settings.protocol, learned.state, learned.extractor
    plain = protocol.normalization == "batch"
    step = c_source.StepSettings(
        minibatch=protocol.minibatch,
        learning_rate=protocol.learning_rate,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        renorm_momentum=protocol.renorm_momentum,
        r_max=1.0 if plain else protocol.r_max,
        d_max=0.0 if plain else protocol.d_max,
        batch_statistics=protocol.normalization != "running",
        train_layers=protocol.train_layers,
    )
    sections = c_source.export(
        out, extractor.network, extractor.latent_layer, extractor.quantized.stage,
        extractor.latent_max, state.memory, learner.inference_params(protocol, state),
        state.training.statistics, step,
    )  # fmt: skip
    return (
        f"{c_sizes.table(sections)}\n\n{out}: build it with  cc -std=c99 -O2 *.c -lm -o qlr\n"
        f"Sizes are for mini-batches of {protocol.minibatch}, kept whole; memories are VEGA's."
    )


def _npz(out: Path, learned: Learned) -> str:
    others = session_arrays.learned(
        learned.extractor.quantized, learned.settings.protocol, learned.state, learned.class_names
    )
    arrays.write(out, learned.extractor.quantized.stage, others)
    return f"{out}: {len(others)} arrays and the integer stage; numpy.load reads them"


def _save(out: Path, content: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    runfolder.write_atomic(out, content)


def _needs_onnx(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"qlrjax.export.{module}")
    except ModuleNotFoundError as error:
        raise ValueError(
            "ONNX export needs the package onnx; install it with: pip install 'qlrjax[onnx]'"
        ) from error
