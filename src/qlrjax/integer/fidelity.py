"""How close an integer stage stays to the float network it was made from."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qlrjax.integer import calibrate, frozen, latent_codes
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut, floating
from qlrjax.network.floating import Parameters


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How close one integer layer stays to its float layer, over a set of images."""

    layer: str
    cosine: float
    snr_db: float


def fidelity(
    cut: Cut,
    parameters: Parameters,
    quantized: QuantizedStage,
    images: UInt8[np.ndarray, "n h w c"],
) -> list[Fidelity]:
    """Cosine similarity and signal-to-noise (dB) of every integer output against the float one."""
    calibrate.check_images(cut.network, images)
    meaning = tuple(zip(quantized.ranges, quantized.zero_codes, strict=True))
    used = calibrate.used_by(cut, parameters)
    totals = np.sum(
        [
            np.asarray(_moments(cut, meaning, used, quantized.stage, b), np.float64)
            for b in calibrate.batches(images)
        ],
        axis=0,
    )
    names = [layer.name for layer in cut.below]
    if cut.is_pooled:
        names.append("pool")
    tiny = 1e-30
    return [
        Fidelity(
            layer=name,
            cosine=float(cross / np.sqrt(max(real * approx, tiny))),
            snr_db=float(10 * np.log10(max(real, tiny) / max(noise, tiny))),
        )
        for name, (real, approx, cross, noise) in zip(names, totals, strict=True)
    ]


def csv_text(rows: Sequence[Fidelity]) -> str:
    """The same as CSV, one line a layer."""
    lines = [f"{row.layer},{row.cosine:.5f},{row.snr_db:.2f}" for row in rows]
    return "\n".join(["layer,cosine,snr_db", *lines]) + "\n"


# One program a process: the sessions that `qlrjax run` learns for contrast share it.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _moments(
    cut: Cut,
    meaning: tuple[tuple[float, int], ...],
    weights: Parameters,
    stage: frozen.Stage,
    batch: UInt8[Array, "n h w c"],
) -> Float32[Array, "layers 4"]:
    """Of every output: sum(y²), sum(y'²), sum(y·y') and sum((y - y')²), y' of the integers."""
    real = floating.infer(cut, weights, batch)
    codes = frozen.trace(stage, batch)
    rows = []
    for y, q, (span, zero) in zip(real, codes, meaning, strict=True):
        approx = latent_codes.dequantize(q, span, 8, -span * zero / 255)
        noise = jnp.sum((y - approx) ** 2)
        rows.append([jnp.sum(y * y), jnp.sum(approx**2), jnp.sum(y * approx), noise])
    return jnp.asarray(rows)
