"""The frozen stage beside ONNX Runtime's int8 on our QDQ graph: JSON, a table on the terminal.

python -m tests.bench.frozen_rows OUT.json

Both run in one process and in turn, round by round, so that other work on the machine disturbs both
alike; read the ratio, which is the median of the rounds'.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime

from qlrjax import weights
from qlrjax.export.onnx import qdq
from qlrjax.integer import native, quantize
from qlrjax.integer.native import build
from qlrjax.network import Cut
from qlrjax.streams import builtin

LAYERS, BATCHES, SIDE = (19, 23, 27), (1, 8, 64), 128
COLUMNS = ("layer", "batch", "ours_ms", "onnx_ms", "times_as_fast", "quartiles")


def measure(rounds: int) -> list[dict]:
    """A row for every layer and batch; milliseconds an image."""
    source = builtin.source((SIDE, SIDE))
    images = source.read(np.linspace(0, len(source.labels) - 1, max(BATCHES)).astype(int))
    network, parameters = weights.load("builtin", 10, SIDE)
    rows = []
    for layer in LAYERS:
        quantized = quantize.quantize(Cut(network, layer), parameters, images)
        prepared = native.prepare(quantized.stage)
        if prepared is None:
            raise SystemExit(f"there is no C kernel here: {build.description()}")
        model = qdq.export(quantized.stage, (SIDE, SIDE, 3), quantized.ranges, quantized.zeros)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        peer = onnxruntime.InferenceSession(model.SerializeToString(), options)
        name = peer.get_inputs()[0].name
        for batch in BATCHES:
            own, theirs = jnp.asarray(images[:batch]), images[:batch]
            pairs = interleaved(
                lambda own=own, prepared=prepared: jax.block_until_ready(
                    native.apply(prepared, own)
                ),
                lambda theirs=theirs, peer=peer, name=name: peer.run(None, {name: theirs}),
                rounds,
            )
            each = 1e3 * pairs / batch
            ratios = each[:, 1] / each[:, 0]
            median = np.median(each, axis=0)
            quartiles = [round(float(q), 2) for q in np.quantile(ratios, (0.25, 0.75))]
            values = (layer, batch, median[0], median[1], np.median(ratios))
            rounded = [
                value if isinstance(value, int) else round(float(value), 3) for value in values
            ]
            rows.append(dict(zip(COLUMNS, [*rounded, quartiles], strict=True)))
    return rows


def interleaved(one: Callable, other: Callable, rounds: int) -> np.ndarray:
    """Seconds [rounds, 2] of two calls made in turn, after one of each that is not counted."""
    one()
    other()
    seconds = np.zeros((rounds, 2))
    for row in seconds:
        for place, call in enumerate((one, other)):
            started = time.perf_counter()
            call()
            row[place] = time.perf_counter() - started
    return seconds


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = ["| l | batch | C kernel, ms an image | ONNX Runtime, ms | times as fast | quartiles |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["quartiles"]
        cells = [row["layer"], row["batch"], f"{row['ours_ms']:.2f}", f"{row['onnx_ms']:.2f}"]
        cells += [f"{row['times_as_fast']:.2f}", f"{low:.2f} to {high:.2f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    found = measure(rounds=int(os.environ.get("ROUNDS", "25")))
    facts = {"kernel": build.description(), "load": os.getloadavg(), "rows": found}
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(facts, indent=1) + "\n")
    print(facts["kernel"], "load", facts["load"])
    print(table(found))
