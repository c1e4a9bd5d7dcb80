"""Exported runs and checkpoints as someone would make them who can compute every digest."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax.runs import manifest


class Export:
    """The parts of an exported run; what is changed here is signed again by `write`.

    Attributes:
        arrays: Leaves of the state by path.
        files: `records` and the files of the run, as bytes by their names in the archive.
        about: The manifest's JSON.
    """

    def __init__(self, path: Path) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.files: dict[str, bytes] = {}
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                if name.startswith("state/"):
                    self.arrays[name.removeprefix("state/")] = archive[name].copy()
                elif not name.startswith("manifest"):
                    self.files[f"{name}.npy"] = archive[name].tobytes()
            self.about: dict[str, Any] = json.loads(archive["manifest"].tobytes())

    def write(self, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
        """Signs all parts and writes them."""
        for name, array in self.arrays.items():
            self.about["leaves"][name] = {
                "shape": list(array.shape),
                "dtype": array.dtype.name,
                "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
            }
        for name, data in self.files.items():
            digest = hashlib.sha256(data).hexdigest()
            self.about["files"][name] = {"bytes": len(data), "sha256": digest}
        stage = self.files.get("files/frozen.npz.npy", b"")
        if isinstance(self.about.get("extra"), dict) and "stage_sha256" in self.about["extra"]:
            self.about["extra"]["stage_sha256"] = hashlib.sha256(stage).hexdigest()
        if isinstance(self.about.get("settings"), dict):
            self.about["settings_sha256"] = manifest.settings_digest(self.about["settings"])
        text = json.dumps(self.about).encode()
        members = {f"state/{name}.npy": npy(array) for name, array in self.arrays.items()}
        members |= {name: npy(np.frombuffer(data, np.uint8)) for name, data in self.files.items()}
        members["manifest.npy"] = npy(np.frombuffer(text, np.uint8))
        digest = hashlib.sha256(text).hexdigest().encode()
        members["manifest_sha256.npy"] = npy(np.frombuffer(digest, np.uint8))
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path


def npy(array: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(data: bytes, change: Callable[[dict[str, np.ndarray]], None], compressed: bool) -> bytes:
    """Another .npz with some arrays changed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    change(arrays)
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()
