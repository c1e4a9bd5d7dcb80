"""The table of exactness: every operator and stage against references that qlrjax did not make.

    python experiments/exactness.py

Source: issue 5. Integer rows must show 0: NumPy int64 and Python integers
(tests/support/oracle.py), ONNX Runtime on the exported graph, and the exported C program built by
the host's compiler. Float rows show the largest relative difference (norm of the difference by the
norm of the tensor) from float64 written by hand (tests/support/oracle_float.py). QDQ rows say how
often that export is off.

Images are the built-in Fashion-MNIST test images, 1,000 of them; `--photos FOLDER` adds photos in
CORe50's folder layout. Weights are the built-in ones; `--onnx FILE...` adds networks of one's own.
Expected: 0 in all integer rows over 12,500 random layers and 1,000 images at every layer of every
network, so at every cut. About 12 minutes on 2 cores, of which the images take most. Results go to
experiments/results/exactness.{md,json,csv}; `--only graphs` shows the networks beyond MobileNet-V1
and writes nothing. Verified: yes.
"""

import argparse
import csv
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import exactness_integer
import exactness_learning
import exactness_qdq
from exactness_row import Row

from qlrjax import cli, weights
from qlrjax.integer import quantize
from qlrjax.network import Cut
from qlrjax.streams import builtin

FASHION = "Fashion-MNIST images"
GRAPHS = ("efficientnet_lite0", "mobilenet_v2:random:1:0.35", "resnet8", "ds_cnn")
KINDS = ("conv", "depthwise", "pointwise", "linear", "pool")


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the table of exactness.")
    parser.add_argument("--images", type=int, default=1000, help="Fashion-MNIST test images")
    parser.add_argument("--photos", type=Path, help="also photos, sS/oO/*.jpg")
    parser.add_argument("--layers", type=int, default=500, help="random layers a kind and geometry")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--onnx", type=Path, nargs="*", default=[], help="more networks")
    parser.add_argument("--only", choices=["graphs"], help="these rows, without writing the table")
    arguments = parser.parse_args()
    rows = []
    for row in graphs(arguments) if arguments.only else measure(arguments):
        print(f"{row.what} | {row.reference} | {row.cases} | {row.difference:g}", flush=True)
        rows.append(row)
    if not arguments.only:
        write(rows, arguments.out)
    wrong = [row.what for row in rows if row.kind == "integer" and row.difference]
    if wrong:
        raise SystemExit(f"integer rows that differ: {', '.join(wrong)}")


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    yield exactness_integer.requantization()
    yield exactness_integer.packing()
    yield exactness_integer.narrowing()
    for kind in KINDS:
        yield exactness_integer.random_layers(kind, arguments.layers)
    images = {FASHION: fashion_mnist(arguments.images)}
    if arguments.photos:
        images[f"photos of {arguments.photos.name}"] = photos(arguments.photos)
    network, parameters = weights.load("builtin", 50, 128)
    stage = quantize.quantize(Cut(network, network.last), parameters, images[FASHION][:256])
    for name, batch in images.items():
        yield exactness_integer.whole_stage(network, stage, name, batch)
    yield exactness_integer.whole_stage_by_hand(network, stage, images[FASHION][:8])
    yield exactness_integer.extremes()
    for width in (0.25, 0.5, 0.75):
        narrow, random = weights.load(f"random:1:{width}", 50, 128)
        integer = quantize.quantize(Cut(narrow, narrow.last), random, images[FASHION][:32])
        yield exactness_integer.whole_stage(narrow, integer, FASHION, images[FASHION][:100])
    yield from graphs(arguments)
    yield from exactness_learning.c_program(images[FASHION])
    yield from exactness_learning.float_stage()
    for name, batch in images.items():
        yield from exactness_qdq.qdq(stage, name, batch[:: len(batch) // 50])


def graphs(arguments: argparse.Namespace) -> Iterator[Row]:
    """Every layer of the networks that are no chains, and of one's own."""
    for name in (*GRAPHS, *map(str, arguments.onnx)):
        resolution = weights.outline(name, 10).in_hw
        network, parameters = weights.load(name, 10, resolution)
        images = fashion_mnist(arguments.images, resolution)[..., : network.in_shape[2]]
        stage = quantize.quantize(Cut(network, network.last), parameters, images[:64])
        yield exactness_integer.whole_stage(network, stage, FASHION, images)


def fashion_mnist(count: int, hw: tuple[int, int] = (128, 128)) -> np.ndarray:
    """uint8[n, h, w, 3] test images of the built-in data, resized as a session does."""
    source = builtin.source(hw)
    return source.read(np.flatnonzero(source.sessions == builtin.TEST_SESSION)[:count])


def photos(folder: Path) -> np.ndarray:
    from PIL import Image

    paths = sorted(folder.glob("s*/o*/*.jpg"))[::5]
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


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
