"""Calibrated stages and their fidelity: computed once, found again by all that decides them.

A file belongs to one network and cut, its float weights, the images, this machine and the code that
computes it; it begins with a SHA-256 of its key and of the rest, so that a file which is damaged or
another's counts as one that is not there. A stage that is found has the bits of one computed anew.

    QLRJAX_CACHE=FOLDER, or off      where they lie, see `caches`
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from qlrjax import caches, files
from qlrjax.integer import calibrate, fidelity, quantize, stagefile
from qlrjax.integer.extractor import Extractor
from qlrjax.integer.fidelity import Fidelity
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut
from qlrjax.network.floating import Parameters

_FORMAT = b"qlrjax calibrated 1"
_DIGEST_BYTES = 32
_FILES_AT_MOST = 64  # a stage of MobileNet-V1 takes 3 MB, its fidelity 2 kB
_LEAST_MACS = 5e9  # what is computed sooner than it is compiled is not worth a file
_PACKAGE = Path(__file__).parent


def stage(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w c"], integer: bool
) -> QuantizedStage:
    """`quantize.quantize`, or `quantize.ranges` where the stage is to stay in floats.

    Raises:
        ValueError: See there.
    """

    def compute() -> QuantizedStage:
        make = quantize.quantize if integer else quantize.ranges
        return make(cut, parameters, images)

    path, key = _place("stage", cut, parameters, images, b"int8" if integer else b"float32")
    found = _read(path, key)
    if found is not None:
        with contextlib.suppress(ValueError):
            return stagefile.parse(found, cut.classes, str(path)).quantized
    fresh = compute()
    _write(path, key, lambda: stagefile.dump(Extractor(cut, fresh, None)))
    return fresh


def measured(
    cut: Cut,
    parameters: Parameters,
    quantized: QuantizedStage,
    images: UInt8[np.ndarray, "n h w c"],
) -> list[Fidelity]:
    """`fidelity.fidelity`."""
    own = hashlib.sha256(stagefile.dump(Extractor(cut, quantized, None))).digest()
    path, key = _place("fidelity", cut, parameters, images, own)
    found = _read(path, key)
    if found is not None:
        return [Fidelity(*row) for row in json.loads(found)]
    fresh = fidelity.fidelity(cut, parameters, quantized, images)
    _write(path, key, lambda: json.dumps([dataclasses.astuple(row) for row in fresh]).encode())
    return fresh


def _place(
    kind: str, cut: Cut, parameters: Parameters, images: np.ndarray, more: bytes
) -> tuple[Path | None, bytes]:
    """The file, None where there is none; and what it must have been computed from."""
    macs = sum(layer.macs for layer in cut.below) * len(images)
    folder = caches.folder("calibrated") if macs >= _LEAST_MACS else None
    if folder is None:
        return None, b""
    hasher = hashlib.sha256(_FORMAT)
    parts = [kind.encode(), caches.machine().encode(), _code(), repr(cut).encode(), more]
    for layer, tensors in calibrate.used_by(cut, parameters).items():
        for name, value in tensors.items():
            array = np.ascontiguousarray(value)
            parts += [f"{layer} {name} {array.dtype} {array.shape}".encode(), array.tobytes()]
    parts += [repr(images.shape).encode(), np.ascontiguousarray(images).tobytes()]
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little") + part)
    return folder / f"{hasher.hexdigest()[:32]}.{kind}", hasher.digest()


@functools.cache
def _code() -> bytes:
    """A digest of the code that computes stages."""
    hasher = hashlib.sha256()
    for room in ("integer", "network"):
        for path in sorted((_PACKAGE / room).glob("*.py")):
            hasher.update(path.read_bytes())
    return hasher.digest()


def _read(path: Path | None, key: bytes) -> bytes | None:
    if path is None:
        return None
    try:
        data = files.read(path, stagefile.SIZE_LIMIT_BYTES)
        os.utime(path)
    except (OSError, ValueError):
        return None
    content = data[_DIGEST_BYTES:]
    return content if data[:_DIGEST_BYTES] == hashlib.sha256(key + content).digest() else None


def _write(path: Path | None, key: bytes, dump: Callable[[], bytes]) -> None:
    """Keeps a result; a full or failing disk is no error, it is in memory anyway."""
    if path is None:
        return
    content = dump()
    with contextlib.suppress(OSError):
        files.write_atomic(path, hashlib.sha256(key + content).digest() + content)
        kept = sorted(path.parent.iterdir(), key=lambda entry: entry.stat().st_mtime)
        for entry in kept[:-_FILES_AT_MOST]:
            entry.unlink(missing_ok=True)
