"""Does the integer frozen stage keep what the float stage knows? A linear probe on its latents.

Source: issue 5 asks for the probe's accuracy on the integer stage's latents to stay within 1 point
of the float stage's, at l = 19, 23 and 27, with the ImageNet weights.

    python experiments/linear_probe.py --data ../shared/data/scenes50

Data: photos in CORe50's folder layout, sS/oO/*.jpg. Every second frame is used; the sessions are
cut into four folds and each fold is tested by a probe trained on the others, so that every image is
tested once under backgrounds that the probe has not seen: 3,200 images of 50 classes with scenes50.
The integer stage is calibrated on 256 images of the first fold's training sessions. The probe is
ridge regression onto one-hot labels, solved in closed form in its dual, with the same relative
penalty for both stages. The standard error counts the images that only one stage gets right.

Takes about 1 minute on 2 cores. Results go to experiments/results/linear_probe.{json,md}.
Verified: 71.4, 79.4 and 86.3 % (float), 71.7, 79.3 and 86.1 % (integer).
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from qlrjax import cli, weights
from qlrjax.integer import frozen, latent_codes, quantize
from qlrjax.network import Cut, floating

LATENT_LAYERS = (19, 23, 27)
FOLDS = ((3, 7), (1, 5), (2, 6), (4, 8))
BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear probe on float and integer latents.")
    parser.add_argument("--data", type=Path, required=True, help="folder with sS/oO/*.jpg")
    parser.add_argument("--penalty", type=float, default=1e-2, help="relative to the mean kernel")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    arguments = parser.parse_args()
    images, labels, sessions = photos(arguments.data)
    folds = [np.isin(sessions, part) for part in FOLDS]
    network, parameters = weights.load("builtin", 50, 128)
    known = np.flatnonzero(~folds[0])
    chosen = known[np.linspace(0, len(known) - 1, 256).round().astype(int)]
    stage = quantize.quantize(Cut(network, network.last), parameters, images[chosen])
    right = {}
    for name, layers in (("float", None), ("integer", stage)):
        latents = extract(network, parameters, layers, images)
        for layer in reversed(LATENT_LAYERS):  # frees the largest ones as it goes
            right[name, layer] = probe(latents.pop(), labels, folds, arguments.penalty)
            print(f"{name:8} l = {layer}: {right[name, layer].mean():.2%}", flush=True)
    report(right, arguments.out, len(labels))


def photos(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and sessions."""
    paths = [
        path
        for path in sorted(folder.glob("s*/o*/*.jpg"))
        if int(path.stem.split("_")[-1]) % 2 == 0
    ]
    if not paths:
        raise SystemExit(f"{folder} holds no photos sS/oO/*.jpg")
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = np.array([int(path.parts[-2][1:]) - 1 for path in paths])
    return images, labels, np.array([int(path.parts[-3][1:]) for path in paths])


def extract(network, parameters, stage, images: np.ndarray) -> list[np.ndarray]:
    """float32 latents [n, elements] of every probed layer."""

    @jax.jit
    def run(batch):
        if stage is None:
            outputs = floating.infer(Cut(network, network.last), parameters, batch)
            return [outputs[index] for index in map(output_index, LATENT_LAYERS)]
        codes = frozen.trace(stage.stage, batch)
        return [
            latent_codes.dequantize(codes[index], stage.ranges[index], 8)
            for index in map(output_index, LATENT_LAYERS)
        ]

    def output_index(layer: int) -> int:
        return layer if layer == network.last else layer - 1  # the pooling follows the last layer

    parts = [run(jnp.asarray(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
    return [
        np.concatenate([np.asarray(part[k]).reshape(len(part[k]), -1) for part in parts])
        for k in range(len(LATENT_LAYERS))
    ]


def probe(x: np.ndarray, labels: np.ndarray, folds: list[np.ndarray], penalty: float) -> np.ndarray:
    """Whether each image is classified rightly by the regression that has not seen its fold."""
    x -= x.mean(axis=0)
    kernel = (x @ x.T).astype(np.float64)
    targets = np.eye(labels.max() + 1)[labels]
    right = np.zeros(len(labels), bool)
    for test in folds:
        inner = kernel[np.ix_(~test, ~test)]
        offset = targets[~test].mean(axis=0)
        ridge = penalty * np.trace(inner) / len(inner)
        dual = np.linalg.solve(inner + ridge * np.eye(len(inner)), targets[~test] - offset)
        scores = kernel[np.ix_(test, ~test)] @ dual + offset
        right[test] = scores.argmax(axis=1) == labels[test]
    return right


def report(right: dict[tuple[str, int], np.ndarray], folder: Path, count: int) -> None:
    lines = [
        f"Linear probe on {count:,} photos of 50 classes, each tested on an unseen background.",
        "",
        "| latent layer | float stage | integer stage | difference (points) | standard error |",
        "|--:|--:|--:|--:|--:|",
    ]
    rows = []
    for layer in LATENT_LAYERS:
        real, integer = right["float", layer], right["integer", layer]
        difference = 100 * (integer.mean() - real.mean())
        error = 100 * np.sqrt((integer != real).sum()) / count
        rows.append(
            {
                "latent_layer": layer,
                "float": real.mean(),
                "integer": integer.mean(),
                "difference_points": difference,
                "standard_error_points": error,
            }
        )
        lines.append(
            f"| {layer} | {real.mean():.2%} | {integer.mean():.2%} | {difference:+.2f} "
            f"| {error:.2f} |"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "linear_probe.md").write_text("\n".join(lines) + "\n")
    (folder / "linear_probe.json").write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    raise SystemExit(cli.answer("linear_probe", main))
