"""The table of exactness: every operator and stage against references that qlrjax did not make.

    python experiments/exactness.py

Source: issue 5. Integer rows must show 0: NumPy int64 and Python integers
(tests/support/oracle.py), ONNX Runtime on the exported graph, and the exported C program built by
the host's compiler. Float rows show the largest relative difference (norm of the difference by the
norm of the tensor) from float64 written by hand (tests/support/oracle_float.py). QDQ rows say how
often that export is off.

Images are the built-in Fashion-MNIST test images, 1,000 of them; `--photos FOLDER` adds photos in
CORe50's folder layout. Weights are the built-in ImageNet ones. Expected: 0 in all integer rows over
12,500 random layers and 1,000 images at all 28 latent layers. About 4 minutes on 2 cores, of which
the images take most. Results go to experiments/results/exactness.{md,json,csv}. Verified: yes.
"""

import argparse
import csv
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import onnx
import onnxruntime
from support import (
    cases,  # pyright: ignore[reportMissingImports]
    firmware,  # pyright: ignore[reportMissingImports]
    oracle,  # pyright: ignore[reportMissingImports]
    oracle_float,  # pyright: ignore[reportMissingImports]
)

from qlrjax import cli, weights
from qlrjax.export.firmware import source as firmware_source
from qlrjax.export.firmware import tables
from qlrjax.export.firmware import target as firmware_target
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.export.onnx import exact as onnx_exact
from qlrjax.export.onnx import qdq as onnx_qdq
from qlrjax.integer import fixedpoint, frozen, latent_codes, quantize
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut, Network, mobilenet_v1
from qlrjax.streams import builtin
from qlrjax.training import adaptive, learner, replay
from qlrjax.training.learner import Learner
from qlrjax.training.protocol import Protocol

FASHION = "Fashion-MNIST images"
KINDS = ("conv", "depthwise", "pointwise", "linear", "pool")
# Odd, non-square, strided, unevenly padded: kernel, stride, padding, input height, width, channels.
GEOMETRIES = (
    ((3, 3), 1, ((1, 1), (1, 1)), (6, 5, 4)),
    ((3, 3), 2, ((0, 1), (0, 1)), (7, 4, 3)),
    ((2, 3), 2, ((1, 0), (2, 1)), (5, 9, 1)),
    ((1, 1), 3, ((0, 0), (0, 0)), (4, 7, 8)),
    ((5, 1), 1, ((2, 2), (0, 0)), (9, 3, 5)),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; `difference` is in codes for integers and relative for floats."""

    what: str
    reference: str
    cases: str
    difference: float
    kind: str = "integer"
    differing: float = 0.0
    mean: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the table of exactness.")
    parser.add_argument("--images", type=int, default=1000, help="Fashion-MNIST test images")
    parser.add_argument("--photos", type=Path, help="also photos, sS/oO/*.jpg")
    parser.add_argument("--layers", type=int, default=500, help="random layers a kind and geometry")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    rows = []
    for row in measure(arguments):
        print(f"{row.what} | {row.reference} | {row.cases} | {row.difference:g}", flush=True)
        rows.append(row)
    write(rows, arguments.out)
    wrong = [row.what for row in rows if row.kind == "integer" and row.difference]
    if wrong:
        raise SystemExit(f"integer rows that differ: {', '.join(wrong)}")


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    yield requantization()
    yield packing()
    yield narrowing()
    for kind in KINDS:
        yield random_layers(kind, arguments.layers)
    images = {FASHION: fashion_mnist(arguments.images)}
    if arguments.photos:
        images[f"photos of {arguments.photos.name}"] = photos(arguments.photos)
    network, parameters = weights.load("builtin", 50, 128)
    stage = quantize.quantize(Cut(network, network.last), parameters, images[FASHION][:256])
    for name, batch in images.items():
        yield whole_stage(network, stage, name, batch)
    yield whole_stage_by_hand(network, stage, images[FASHION][:8])
    yield extremes()
    for width in (0.25, 0.5, 0.75):
        narrow, random = weights.load(f"random:1:{width}", 50, 128)
        integer = quantize.quantize(Cut(narrow, narrow.last), random, images[FASHION][:32])
        yield whole_stage(narrow, integer, FASHION, images[FASHION][:100])
    yield from c_program(images[FASHION])
    yield from float_stage()
    for name, batch in images.items():
        yield from qdq(network, stage, name, batch[:: len(batch) // 50])


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
        largest(fixedpoint.narrow(jnp.asarray(codes.astype(np.uint8)), bits),
                np.floor(codes * (2**bits - 1) / 255 + 0.5))
        for bits in range(1, 9)
    )  # fmt: skip
    return Row("narrow 8 bits to 1 to 8", "float64 rounding", "all 2,048 codes", worst)


def random_layers(kind: str, count: int) -> Row:
    random, worst, total = np.random.default_rng(1), 0, 0
    for number, (kernel, stride, padding, shape) in enumerate(GEOMETRIES):
        for extreme in (False, True):
            share = count - count // 5 if not extreme else count // 5
            layers = [
                cases.random_layer(random, kind, shape[-1], 6, kernel=kernel, stride=stride,
                                   padding=padding, shift=(3 + 7 * number) % 32,
                                   bits=8 - number, extreme=extreme)
                for _ in range(share)
            ]  # fmt: skip
            images = cases.random_images(random, (share, 1, *shape), extreme)
            structure = jax.tree.structure(layers[0])
            leaves = [np.stack(row) for row in zip(*map(jax.tree.leaves, layers), strict=True)]
            run = jax.jit(jax.vmap(lambda own, x, s=structure: frozen.apply_layer(
                jax.tree.unflatten(s, own), x)))  # fmt: skip
            expected = [oracle.apply_layer(*case) for case in zip(layers, images, strict=True)]
            worst = max(worst, largest(run(leaves, images), np.stack(expected)))
            total += share
    return Row(f"{kind} layer", "NumPy int64", f"{total:,} random layers", worst)


def fashion_mnist(count: int) -> np.ndarray:
    """uint8[n, 128, 128, 3] test images of the built-in data, resized as a session does."""
    source = builtin.source((128, 128))
    return source.read(np.flatnonzero(source.sessions == builtin.TEST_SESSION)[:count])


def photos(folder: Path) -> np.ndarray:
    from PIL import Image

    paths = sorted(folder.glob("s*/o*/*.jpg"))[::5]
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


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


def c_program(images: np.ndarray) -> Iterator[Row]:
    """The exported firmware's host build: latents, packed replays, and one step's gradients."""
    if shutil.which("cc") is None:
        print("no C compiler named cc: the rows of the C program are left out")
        return
    network, parameters = weights.load("builtin", 10, 128)
    cut, random = Cut(network, 23), np.random.default_rng(0)
    stage = quantize.quantize(cut, parameters, images[:64])
    params, statistics = adaptive.init(cut, parameters)
    params["head"] = jnp.asarray(random.normal(0, 0.02, params["head"].shape), jnp.float32)
    labels = random.integers(0, 10, 8).astype(np.int32)
    latents = jax.jit(frozen.apply)(stage.stage, jnp.asarray(images[:8]))
    memory = replay.init(16, cut.latent_shape, 7, stage.latent_max)
    protocol = Protocol(minibatch=8, first_epochs=1, classifier="plain", draws="portable")
    learned = Learner(cut, protocol)
    state = learner.init(learned, params, statistics, memory)
    session = FirmwareSession(
        learner=learned, stage=stage.stage, latent_max=stage.latent_max, state=state, seed=0
    )
    data = learner.EventData(latents, labels, number=0, seed=0)
    before = jax.tree.map(np.asarray, (params, statistics))
    after, _ = learner.learn_event(learned, jax.tree.map(jnp.copy, state), data)
    wanted = firmware.state_arrays(learned, after)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        firmware_source.export(folder, session, firmware_target.load("host"), 8)
        command = firmware.build_host(folder)
        board = firmware.client().Learner.run(command, cwd=folder)
        for image, label in zip(images[:8], labels, strict=True):
            board.observe(image.tobytes(), int(label))
        codes = np.frombuffer(board.waiting(8), np.uint8)
        board.learn()
        state_bytes, replay_bytes = board.dump()
        got = firmware.parse(state_bytes, replay_bytes, wanted)
        board.quit()
    yield Row("C: frozen stage to layer 23, width 1", "frozen.apply", "8 images",
              largest(codes, np.asarray(latents).ravel()))  # fmt: skip
    yield Row("C: packed replays and labels, 7 bits", "learn_event", "8 latents",
              max(largest(got[name], wanted[name]) for name in ("replays", "labels")))  # fmt: skip
    params, statistics = before
    batch = np.asarray(latent_codes.dequantize(latents, stage.latent_max, 8))
    done = oracle_float.forward(cut, params, statistics, batch, labels, (1.0, 0.0))
    gradients, _ = oracle_float.backward(done, params, labels)
    decayed = oracle_float.tree_map(lambda p, g: g + protocol.weight_decay * p, params, gradients)
    layers = tables.flat_layers(cut.normalised, decayed["layers"])
    expected = np.concatenate([layers, *decayed["head"]])
    momentum = np.concatenate([got["momentum"], got["head_momentum"]])
    what, cases_ = "C: gradients of a training step, l = 23", "8 latents, 1.6 million parameters"
    yield Row(what, "float64", cases_, relative(momentum, expected), "float")


def float_stage() -> Iterator[Row]:
    """Loss and gradients of the adaptive stage at the cuts devices train, ImageNet weights."""
    for layer in (20, 23, 27):
        network, parameters = weights.load("builtin", 50, 128)
        cut = Cut(network, layer)
        params, statistics = adaptive.init(cut, parameters)
        random = np.random.default_rng(layer)
        params["head"] = jnp.asarray(random.normal(0, 0.02, params["head"].shape), jnp.float32)
        latents = np.maximum(random.normal(0, 1, (8, *cut.latent_shape)), 0)
        latents, labels = latents.astype(np.float32), random.integers(0, 50, 8).astype(np.int32)
        limits = adaptive.RenormLimits(
            jnp.asarray(1.25, jnp.float32), jnp.asarray(0.5, jnp.float32)
        )

        def loss_of(params, x, cut=cut, statistics=statistics, labels=labels, limits=limits):
            logits, moments = adaptive.forward(cut, params, statistics, x, limits)
            ones = jnp.ones(len(labels), bool)
            return adaptive.cross_entropy(logits, jnp.asarray(labels), ones), (logits, moments)

        run = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True))
        (loss, (logits, _)), (gradients, dx) = run(params, jnp.asarray(latents))
        done = oracle_float.forward(cut, params, statistics, latents, labels, (1.25, 0.5))
        expected, inputs = oracle_float.backward(done, params, labels)
        worst = max(relative(loss, done.loss), relative(logits, done.logits))
        yield Row(f"adaptive stage forward, l = {layer}", "float64", "8 latents", worst, "float")
        pairs = list(zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True))
        if not cut.is_pooled:
            pairs.append((dx, inputs[cut.above[0].name]))
        worst = max(relative(*pair) for pair in pairs)
        what = f"every gradient, l = {layer}, tensors: {len(pairs)}"
        yield Row(what, "float64", "8 latents", worst, "float")


def qdq(network: Network, stage: QuantizedStage, name: str, images: np.ndarray) -> Iterator[Row]:
    """Single layers on exact inputs, then whole stages, which carry every difference on."""
    codes = [images, *map(np.asarray, jax.jit(frozen.trace)(stage.stage, jnp.asarray(images)))]
    scales = (1.0, *(value / 255 for value in stage.ranges))
    alone = []
    for index, layer in enumerate(stage.stage):
        ranges = (255 * scales[index + 1] / scales[index],)
        model = onnx_qdq.export((layer,), codes[index].shape[1:], ranges)
        alone.append(difference(model, codes[index], codes[index + 1]))
    share = float(np.mean([np.mean(part > 0) for part in alone]))
    yield Row("ONNX QDQ export, each layer alone", "frozen.apply", f"{len(images)} {name}",
              max(part.max() for part in alone), "qdq", share)  # fmt: skip
    for cut, layers in ((19, 19), (23, 23), (27, 28)):
        model = onnx_qdq.export(stage.stage[:layers], images.shape[1:], stage.ranges[:layers])
        off = difference(model, images, codes[layers])
        yield Row(f"ONNX QDQ export, whole stage, l = {cut}", "frozen.apply",
                  f"{len(images)} {name}", off.max(), "qdq", float((off > 0).mean()),
                  float(off.mean()))  # fmt: skip


def difference(model: onnx.ModelProto, images: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|codes - expected| of a model in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    # Without VNNI, ONNX Runtime's u8 x s8 products saturate at 16 bits unless it is told not to.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    got = np.asarray(session.run(None, {"images": images})[0])
    return np.abs(got.astype(np.int64) - expected)


def largest(one, other) -> int:
    """Largest absolute difference; shapes must agree."""
    one, other = np.asarray(one).astype(np.int64), np.asarray(other).astype(np.int64)
    if one.shape != other.shape:
        raise SystemExit(f"shapes differ: {one.shape} and {other.shape}")
    return int(np.abs(one - other).max())


def relative(one, other) -> float:
    """Norm of the difference by the norm of the reference."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def write(rows: list[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    records = [{**dataclasses.asdict(row), "difference": float(row.difference)} for row in rows]
    (folder / "exactness.json").write_text(json.dumps(records, indent=1) + "\n")
    with (folder / "exactness.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    lines = ["| what | reference | cases | largest difference |", "|---|---|---|--:|"]
    for row in rows:
        shown = {
            "integer": f"{row.difference:g}",
            "float": f"{row.difference:.1e} relative",
            "qdq": f"{row.difference:g} codes; {row.differing:.2%} differ"
            + (f", {row.mean:.2f} on average" if row.mean else ""),
        }[row.kind]
        lines.append(f"| {row.what} | {row.reference} | {row.cases} | {shown} |")
    (folder / "exactness.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(cli.answer("exactness", main))
