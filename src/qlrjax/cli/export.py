"""`qlrjax export` and `qlrjax import`: a run as ONNX, C, arrays, or one file to move it."""

import dataclasses
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console

from qlrjax import files
from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.export.firmware import target as firmware_target
from qlrjax.names import printable
from qlrjax.runs import outside, runfolder

if TYPE_CHECKING:  # what loads JAX waits until the words are understood
    from qlrjax.runs.opened import OpenRun

Format = Literal["onnx", "qdq", "firmware", "c", "npz", "state"]
_NAMES = {
    "onnx": "frozen.onnx",
    "qdq": "frozen_qdq.onnx",
    "firmware": "firmware",
    "c": "c",
    "npz": "arrays.npz",
    "state": "run.npz",
}


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Carry a run elsewhere.

    Attributes:
        run: The run's folder.
        format: onnx gives the integer frozen stage, bit for bit; qdq the same stage for toolchains
            that take quantized models as float ones, approximate; firmware a folder of C99 that
            learns on a device; c the same for this machine; npz everything as plain arrays; state
            the run itself in one file, for `qlrjax import`.
        out: File to write, or folder for firmware and c; a name in the run's folder `export`
            without it.
        force: Replace the file, or write into the folder, if it is there already.
        target: Of firmware: cortex-m4f, rv32imf, host, a board (mps2-an386, netduinoplus2,
            netduinoplus2-qemu7, rv32-virt), or a .toml file of memories.
        event_images: Of firmware and c: images that may wait to be learned as one event.
        json: Print what firmware and c take of the memories as JSON.
    """

    run: tyro.conf.Positional[Path]
    format: Format = "onnx"
    out: Path | None = None
    force: bool = False
    target: str = "cortex-m4f"
    event_images: int = 64
    json: bool = False


@dataclasses.dataclass(frozen=True)
class ImportArguments:
    """Make a run folder of what `qlrjax export --format state` wrote.

    Attributes:
        file: The exported state.
        run: The new run's folder.
    """

    file: tyro.conf.Positional[Path]
    run: tyro.conf.Positional[Path]


def export(words: Sequence[str]) -> int:
    """Writes the export and says what it is."""
    arguments = parse_arguments(ExportArguments, words, "qlrjax export")
    out = arguments.out or arguments.run / runfolder.EXPORT / _NAMES[arguments.format]
    outside.check(out, arguments.run, arguments.force)
    if arguments.format == "state":
        print(_state(out, arguments.run))
        return 0
    from qlrjax.runs import opened

    run = opened.open_run(arguments.run)
    show.notes(Console(stderr=True), run.notes)
    if arguments.format in ("firmware", "c"):
        print(_firmware(out, run, arguments))
    else:
        print(write(arguments.format, out, run))
    return 0


def import_(words: Sequence[str]) -> int:
    """Makes the folder; `qlrjax run`, `learn` and `predict` go on with it."""
    arguments = parse_arguments(ImportArguments, words, "qlrjax import")
    from qlrjax.runs import imported

    run, place = imported.make(arguments.file, arguments.run), printable(arguments.run)
    print(
        f"{place}: {int(run.state.learner.event)} learned events, {len(run.class_names)} classes; "
        f"go on with: qlrjax run --out {place}"
    )
    return 0


def write(what: Format, out: Path, opened: "OpenRun") -> str:
    """Writes one export and returns what to tell the user.

    Args:
        what: See `ExportArguments`; "onnx", "qdq" or "npz".
        out: File.
        opened: The run.

    Raises:
        ValueError: The run has no integer stage, its replays cannot be exported in this form, or
            the extra qlrjax[onnx] is not installed.
    """
    _needs_integers(opened)
    return {"onnx": _onnx, "qdq": _qdq, "npz": _npz}[what](out, opened)


def _needs_integers(opened: "OpenRun") -> None:
    if opened.settings.frozen != "int8":
        raise ValueError(
            "this run's frozen stage is float32, and only integer stages can be exported; learn "
            "with --frozen int8"
        )


def _onnx(out: Path, opened: "OpenRun") -> str:
    onnx_exact = _needs_onnx("exact")
    extractor, memory = opened.extractor, opened.state.learner.memory
    cut, bits = extractor.cut, min(memory.bits, 8)
    quantized = extractor.quantized
    model = onnx_exact.export(
        quantized.stage, cut.image_shape, quantized.latent_max, bits, quantized.latent_min
    )
    _save(out, model.SerializeToString())
    height, width, channels = cut.image_shape
    return (
        f"{printable(out)}: uint8 images [n, {height}, {width}, {channels}] "
        f"to {bits}-bit latent codes, bit for bit as this run's frozen stage"
    )


def _qdq(out: Path, opened: "OpenRun") -> str:
    onnx_qdq = _needs_onnx("qdq")
    quantized, cut = opened.extractor.quantized, opened.extractor.cut
    model = onnx_qdq.export(quantized.stage, cut.image_shape, quantized.ranges, quantized.zeros)
    _save(out, model.SerializeToString())
    return (
        f"{printable(out)}: the same stage in QDQ form; codes can differ by one wherever "
        "rounding is close, and later layers carry that on. On x86 without VNNI, give ONNX Runtime "
        "the session option session.x64quantprecision=1, or its products saturate"
    )


def _firmware(out: Path, opened: "OpenRun", arguments: ExportArguments) -> str:
    from qlrjax.export.firmware import sizes as firmware_sizes
    from qlrjax.export.firmware import source as firmware_source
    from qlrjax.export.firmware.session import FirmwareSession

    _needs_integers(opened)
    chosen = firmware_target.load("host" if arguments.format == "c" else arguments.target)
    drew, extractor, taught = opened.settings.protocol.draws, opened.extractor, opened.learner
    protocol = dataclasses.replace(opened.settings.protocol, draws="portable")
    session = FirmwareSession(
        learner=dataclasses.replace(taught, protocol=protocol),
        stage=extractor.quantized.stage,
        latent_max=extractor.latent_max,
        state=opened.state.learner,
        seed=opened.settings.seed,
    )
    shown = printable(out)
    plan = firmware_source.export(out, session, chosen, arguments.event_images)
    if arguments.json:
        return json.dumps(firmware_sizes.record(plan), indent=1)
    note = (
        "This run drew by JAX's generator; the firmware goes on with the portable one.\n"
        if drew != "portable"
        else ""
    )
    return (
        f"{firmware_sizes.markdown(plan)}\n\n{note}{shown}: build it with  make -C {shown}\n"
        f"teach it with  python3 {shown}/learner.py --run 'make -s -C {shown} run' "
        "teach 0 PHOTO... -- learn"
    )


def _npz(out: Path, opened: "OpenRun") -> str:
    from qlrjax.export import arrays, session_arrays

    others = session_arrays.learned(
        opened.extractor.quantized,
        opened.learner,
        opened.state.learner,
        opened.class_names,
    )
    arrays.write(out, opened.extractor.quantized.stage, others)
    return f"{printable(out)}: {len(others)} arrays and the integer stage; numpy.load reads them"


def _state(out: Path, folder: Path) -> str:
    from qlrjax.runs import imported, marker, transfer

    if not folder.is_dir():
        raise ValueError(f"there is no run folder {printable(folder)}")
    marker.read(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with runfolder.lock(folder):
        notes = transfer.pack(folder, out, imported.MOVED)
    return "\n".join(
        [*notes, f"{printable(out)}: the whole run; give it to qlrjax import on any machine"]
    )


def _save(out: Path, content: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(out, content)


def _needs_onnx(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"qlrjax.export.onnx.{module}")
    except ModuleNotFoundError as error:
        raise ValueError(
            "ONNX export needs the package onnx; install it with: pip install 'qlrjax[onnx]'"
        ) from error
