"""The frozen stage beside ONNX Runtime, a row for every layer and batch.

Peers of the C kernel: int8 on our QDQ graph, which has its arithmetic up to rounding, and a graph
that ONNX Runtime's own tools quantized. Peer of pure JAX, in integers and in floats: ONNX Runtime's
float32. The last two peers get normalised floats, channels first, and need no conversion.
"""

import jax
import jax.numpy as jnp
import numpy as np
from bench import onnx_peers
from bench.turns import figure, interleaved, markdown, ratio, rounds, times_text

from qlrjax import weights
from qlrjax.export.onnx import qdq
from qlrjax.integer import frozen, native, quantize
from qlrjax.native import description
from qlrjax.network import Cut, floating
from qlrjax.streams import builtin

LAYERS, BATCHES, SIDE = (19, 23, 27), (1, 8, 64), 128
CALLS = ("c", "qdq", "own tools", "jax int8", "jax float32", "float32")
HEADER = (
    "l",
    "batch",
    "C kernel, ms an image",
    "/ QDQ graph",
    "/ own tools' graph",
    "pure JAX int8, ms",
    "/ float32",
    "JAX float32, ms",
    "/ float32",
)


def measure() -> list[dict]:
    """A row for every layer and batch; milliseconds are of an image, medians."""
    source = builtin.source((SIDE, SIDE))
    images = source.read(np.linspace(0, len(source.labels) - 1, max(BATCHES)).astype(int))
    network, parameters = weights.load("builtin", 10, SIDE)
    rows = []
    for layer in LAYERS:
        calls_of = _calls(Cut(network, layer), parameters, images)
        for batch in BATCHES:
            seconds = interleaved(calls_of(batch), rounds(11), seconds=9)
            each = 1e3 * np.median(seconds, axis=0) / batch
            rows.append(
                {
                    "layer": layer,
                    "batch": batch,
                    "rounds": len(seconds),
                    "ms": dict(zip(CALLS, map(figure, each), strict=True)),
                    "c / qdq": ratio(seconds, 1),
                    "c / own tools": ratio(seconds, 2),
                    "jax int8 / float32": ratio(seconds, 5, own=3),
                    "jax float32 / float32": ratio(seconds, 5, own=4),
                }
            )
    return rows


def _calls(cut: Cut, parameters: floating.Parameters, images: np.ndarray):
    """The calls of CALLS, of a batch."""
    stage = quantize.quantize(cut, parameters, images)
    prepared = native.prepare(stage.stage)
    if prepared is None:
        raise SystemExit(f"there is no C kernel here: {description(native.LIBRARY)}")
    shape = (SIDE, SIDE, 3)
    floats = onnx_peers.floating(cut, parameters)
    channels_first = onnx_peers.normalised(cut, images)
    peers = (
        onnx_peers.session(qdq.export(stage.stage, shape, stage.ranges, stage.zeros)),
        onnx_peers.session(onnx_peers.quantized(floats, channels_first)),
        onnx_peers.session(floats),
    )
    below = {row.name: parameters[row.name] for row in cut.below if row.has_weights}
    below = jax.tree.map(jnp.asarray, below)
    integer = jax.jit(lambda values, x: frozen.apply(values, x))
    in_floats = jax.jit(lambda values, x: floating.infer(cut, values, x)[-1])
    ours = np.asarray(in_floats(below, jnp.asarray(images[:1]))).transpose(0, 3, 1, 2)
    theirs_too = peers[2].run(None, {"x": channels_first[:1]})[0]
    np.testing.assert_allclose(ours, theirs_too, atol=1e-3)

    def of(batch: int):
        own, theirs = jnp.asarray(images[:batch]), channels_first[:batch]
        return (
            lambda: jax.block_until_ready(native.apply(prepared, own)),
            lambda: peers[0].run(None, {"images": images[:batch]}),
            lambda: peers[1].run(None, {"x": theirs}),
            lambda: jax.block_until_ready(integer(stage.stage, own)),
            lambda: jax.block_until_ready(in_floats(below, own)),
            lambda: peers[2].run(None, {"x": theirs}),
        )

    return of


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    return markdown(
        HEADER,
        [
            [
                row["layer"],
                row["batch"],
                f"{row['ms']['c']:.2f}",
                times_text(row["c / qdq"]),
                times_text(row["c / own tools"]),
                f"{row['ms']['jax int8']:.2f}",
                times_text(row["jax int8 / float32"]),
                f"{row['ms']['jax float32']:.2f}",
                times_text(row["jax float32 / float32"]),
            ]
            for row in rows
        ],
    )
