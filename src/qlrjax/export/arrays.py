"""A stage and everything trained above it as one .npz of plain arrays, readable by anything.

`deployed.load` reads the stage back; `numpy.load(..., allow_pickle=False)` reads all of it.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files
from qlrjax.integer.frozen import Stage


def named(stage: Stage) -> dict[str, np.ndarray]:
    """The stage as "layer00.weight", "layer00.kind" and so on, see `deployed.load`."""
    arrays: dict[str, np.ndarray] = {}
    for index, layer in enumerate(stage):
        fields = {
            "kind": np.array(layer.kind),
            "weight": np.asarray(layer.weight),
            "kappa": np.asarray(layer.kappa),
            "lam": np.asarray(layer.lam),
            "pad_value": np.asarray(layer.pad_value),
            "shift": np.array(layer.shift, np.int64),
            "bits": np.array(layer.bits, np.int64),
            "stride": np.array(layer.stride, np.int64),
            "padding": np.array(layer.padding, np.int64),
        }
        if layer.kappa_b is not None:
            fields["kappa_b"] = np.asarray(layer.kappa_b)
        if layer.inputs:
            fields["inputs"] = np.array(layer.inputs, np.int64)
        if layer.kind in ("max_pool", "average_pool"):
            fields["window"] = np.array(layer.window, np.int64)
        arrays |= {f"layer{index:02d}.{name}": value for name, value in fields.items()}
    return arrays


def write(path: Path, stage: Stage, others: Mapping[str, Any] | None = None) -> None:
    """Writes the stage, and other arrays under their own names (not starting with "layer")."""
    clash = [name for name in others or {} if name.startswith("layer")]
    if clash:
        raise ValueError(f"the name {clash[0]!r} is taken by the stage; rename the array")
    buffer = io.BytesIO()
    everything: dict[str, Any] = {**named(stage), **(others or {})}
    np.savez(buffer, **everything)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, buffer.getvalue())
