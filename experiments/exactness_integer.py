"""Rows of the table of exactness that must be 0: operators and stages in integers."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from exactness_row import Row, largest
from support import (
    cases,  # pyright: ignore[reportMissingImports]
    oracle,  # pyright: ignore[reportMissingImports]
)

from qlrjax.export.onnx import exact as onnx_exact
from qlrjax.integer import fixedpoint, frozen
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Network, mobilenet_v1

# Odd, non-square, strided, unevenly padded: kernel, stride, padding, input height, width, channels.
GEOMETRIES = (
    ((3, 3), 1, ((1, 1), (1, 1)), (6, 5, 4)),
    ((3, 3), 2, ((0, 1), (0, 1)), (7, 4, 3)),
    ((2, 3), 2, ((1, 0), (2, 1)), (5, 9, 1)),
    ((1, 1), 3, ((0, 0), (0, 0)), (4, 7, 8)),
    ((5, 1), 1, ((2, 2), (0, 0)), (9, 3, 5)),
)


def requantization(a_shift: int = 100_000) -> Row:
    random, worst = np.random.default_rng(0), 0
    for shift in range(32):
        words = random.integers(-(2**31), 2**31, (3, a_shift)).astype(np.int32)
        words >>= random.integers(0, 32, words.shape).astype(np.int32)
        run = jax.jit(lambda acc, kappa, lam, s=shift: fixedpoint.requantize(acc, kappa, lam, s))
        expected = oracle.requantize(words[0].astype(np.int64), words[1], words[2], shift, 8)
        worst = max(worst, largest(run(*map(jnp.asarray, words)), expected))
    return Row("requantize", "NumPy int64", f"{32 * a_shift:,} words", worst)


def packing() -> Row:
    random, count, worst = np.random.default_rng(0), 0, 0
    for bits in range(1, 9):
        for elements in (1, 7, 64, 1000, 1025):
            codes = random.integers(0, 2**bits, (20, elements)).astype(np.uint8)
            packed = np.asarray(fixedpoint.pack(jnp.asarray(codes), bits))
            back = fixedpoint.unpack(jnp.asarray(packed), bits, elements)
            expected = np.stack([oracle.pack(row, bits) for row in codes])
            worst = max(worst, largest(packed, expected), largest(back, codes))
            count += len(codes)
    return Row("pack and unpack, 1 to 8 bits", "Python integers", f"{count:,} latents", worst)


def narrowing() -> Row:
    codes = np.arange(256)
    worst = max(
        largest(
            fixedpoint.narrow(jnp.asarray(codes.astype(np.uint8)), bits),
            np.floor(codes * (2**bits - 1) / 255 + 0.5),
        )
        for bits in range(1, 9)
    )
    return Row("narrow 8 bits to 1 to 8", "float64 rounding", "all 2,048 codes", worst)


def random_layers(kind: str, count: int) -> Row:
    random, worst, total = np.random.default_rng(1), 0, 0
    for number, (kernel, stride, padding, shape) in enumerate(GEOMETRIES):
        for extreme in (False, True):
            share = count - count // 5 if not extreme else count // 5
            layers = [
                cases.random_layer(
                    random,
                    kind,
                    shape[-1],
                    6,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                    shift=(3 + 7 * number) % 32,
                    bits=8 - number,
                    extreme=extreme,
                )
                for _ in range(share)
            ]
            images = cases.random_images(random, (share, 1, *shape), extreme)
            structure = jax.tree.structure(layers[0])
            leaves = [np.stack(row) for row in zip(*map(jax.tree.leaves, layers), strict=True)]
            run = jax.jit(
                jax.vmap(
                    lambda own, x, s=structure: frozen.apply_layer(jax.tree.unflatten(s, own), x)
                )
            )
            expected = [oracle.apply_layer(*case) for case in zip(layers, images, strict=True)]
            worst = max(worst, largest(run(leaves, images), np.stack(expected)))
            total += share
    return Row(f"{kind} layer", "NumPy int64", f"{total:,} random layers", worst)


def traced(stage: frozen.Stage, shape: tuple[int, int, int]) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the exact graph, giving the codes of every layer (NCHW)."""
    model = onnx_exact.export(stage, shape)
    for index in range(len(stage)):
        name = f"layer{index:02d}.codes"
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def whole_stage(network: Network, stage: QuantizedStage, name: str, images: np.ndarray) -> Row:
    session, run = traced(stage.stage, images.shape[1:]), jax.jit(frozen.trace)
    worst, batch = 0, 20
    for start in range(0, len(images) - batch + 1, batch):
        part = images[start : start + batch]
        _, *expected = session.run(None, {"images": part})
        for got, wanted in zip(run(stage.stage, jnp.asarray(part)), expected, strict=True):
            worst = max(worst, largest(got, np.moveaxis(np.asarray(wanted), 1, -1)))
    what = f"frozen stage, width {network.width:g}, every latent layer"
    if network.name != "mobilenet_v1":
        what = f"frozen stage, {network.name} of width {network.width:g}, every layer"
    return Row(what, "ONNX Runtime", f"{len(images) // batch * batch:,} {name}", worst)


def whole_stage_by_hand(network: Network, stage: QuantizedStage, images: np.ndarray) -> Row:
    got = jax.jit(frozen.trace)(stage.stage, jnp.asarray(images))
    expected = oracle.trace(stage.stage, images)
    worst = max(largest(*pair) for pair in zip(got, expected, strict=True))
    what = f"frozen stage, width {network.width:g}, every latent layer"
    return Row(what, "NumPy int64", f"{len(images)} images", worst)


def extremes() -> Row:
    worst, count = 0, 10
    for seed in range(count):
        random = np.random.default_rng(seed)
        convention = ("tensorflow", "pytorch")[seed % 2]
        network = mobilenet_v1(0.25, (47, 33), padding_convention=convention)
        stage = cases.random_stage(network, network.last, random, extreme=seed % 4 > 1)
        images = cases.random_images(random, (2, 47, 33, 3), extreme=seed % 3 == 0)
        got = jax.jit(frozen.trace)(stage, jnp.asarray(images))
        expected = oracle.trace(stage, images)
        _, *others = traced(stage, (47, 33, 3)).run(None, {"images": images})
        for one, two, three in zip(got, expected, others, strict=True):
            worst = max(
                worst, largest(one, two), largest(np.moveaxis(np.asarray(three), 1, -1), two)
            )
    what = "frozen stage, random extremes, both paddings, non-square"
    return Row(what, "NumPy int64 and ONNX Runtime", f"{count} networks", worst)
