"""What the machine does at best: bare products in float32 and in int8, GMAC a second."""

import jax
import jax.numpy as jnp
import numpy as np
from bench import onnx_peers, training_rows
from bench.turns import figure, interleaved, markdown, rounds
from onnx import TensorProto, helper

from qlrjax import weights
from qlrjax.integer import native, quantize
from qlrjax.network import Cut
from qlrjax.streams import builtin

SIZES = (1024, 1536, 2048)
POINTWISE, IMAGES = 14, 64  # 512 to 512 channels on maps of 8 x 8


def measure() -> list[dict]:
    """A row for every product; the median of the rounds, and the best one."""
    calls = {f"float32, JAX, {n} x {n} x {n}": (training_rows.product(n), n**3) for n in SIZES}
    calls["int8, ONNX Runtime's MatMulInteger, 2048 x 2048 x 2048"] = _matmul_integer(2048), 2048**3
    layer, macs = _pointwise()
    if layer is not None:
        calls["int8, the C kernel's 1x1 layer, 4096 pixels, 512 x 512"] = layer, macs
    seconds = interleaved([call for call, _ in calls.values()], rounds(9), seconds=20)
    rows = []
    for (name, (_, macs)), column in zip(calls.items(), seconds.T, strict=True):
        median, best = macs / np.median(column) / 1e9, macs / column.min() / 1e9
        rows.append({"product": name, "median": figure(median), "best": figure(best)})
    return rows


def _matmul_integer(size: int):
    random = np.random.default_rng(0)
    left = random.integers(0, 256, (size, size), dtype=np.uint8)
    right = random.integers(-128, 128, (size, size), dtype=np.int8)
    shape = [size, size]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, shape)],
        [helper.make_tensor("w", TensorProto.INT8, shape, right.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    session = onnx_peers.session(model)
    return lambda: session.run(None, {"x": left})


def _pointwise():
    """The network's own layer on codes of any kind."""
    source = builtin.source((128, 128))
    network, parameters = weights.load("builtin", 10, 128)
    images = source.read(np.arange(8))
    stage = quantize.quantize(Cut(network, POINTWISE + 1), parameters, images).stage
    row = network.layers[POINTWISE]
    prepared = native.prepare(stage[POINTWISE:])
    shape = (IMAGES, *row.in_hw, row.in_channels)
    codes = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    if prepared is None:
        return None, 0
    return lambda: jax.block_until_ready(native.apply(prepared, codes)), IMAGES * row.macs


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    cells = [[row["product"], f"{row['median']:.0f}", f"{row['best']:.0f}"] for row in rows]
    return markdown(("product", "GMAC/s, median", "best round"), cells)
