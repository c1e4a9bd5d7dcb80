"""Speed beside peers, in one process and in turn: JSON, tables and a picture.

PYTHONPATH=tests python -m bench [FOLDER]        build/bench by default

Peers are ONNX Runtime and, where it is installed, PyTorch; read the ratios. `ROUNDS` decides how
often each call is made, and `nice -n -10` keeps other programs from most of it.
"""

import importlib.util
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

from bench import cores_rows, frozen_rows, peaks, picture, scale_rows, training_rows

from qlrjax.integer import native as frozen
from qlrjax.native import description
from qlrjax.training import kernels

PARTS = {
    "peaks": peaks,
    "frozen": frozen_rows,
    "training": training_rows,
    "scale": scale_rows,
    "cores": cores_rows,
}


def main(folder: Path) -> None:
    """Measures everything and writes speed.json and speed.png."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its columns stay empty")
    versions = {}
    for name in ("jax", "jaxlib", "onnxruntime", "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    facts: dict = {
        "kernel": description(frozen.LIBRARY),
        "training": description(kernels.LIBRARY),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "load": {"before": os.getloadavg()},
    }
    begun = time.perf_counter()
    for name, part in PARTS.items():
        facts[name] = part.measure()
        print(
            f"\n{name} ({time.perf_counter() - begun:.0f} s)\n{part.table(facts[name])}", flush=True
        )
    facts["load"]["after"] = os.getloadavg()
    facts["seconds"] = round(time.perf_counter() - begun)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "speed.png").write_bytes(picture.png(facts))
    print(f"\n{facts['kernel']}, load {facts['load']}; {folder / 'speed.json'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench"))
