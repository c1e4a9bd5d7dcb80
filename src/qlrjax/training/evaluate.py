"""Predictions of a learner: logits, classes, accuracy per class."""

import functools
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, Int

from qlrjax import devices
from qlrjax.network import Cut
from qlrjax.training import adaptive, replay
from qlrjax.training.learner import Learner, LearnerState, predicting

_BATCH = 128
_ON_DEVICE_BYTES = 64 * 2**20  # beyond, a test takes so long that copies do not show


def logits(
    learner: Learner, state: LearnerState, latents: np.ndarray
) -> Float32[np.ndarray, "n classes"]:
    """Logits of latents, uint8 codes or float32, from what the strategy predicts with."""
    placed = batches(learner.mesh, latents)
    return logits_of(learner, state, placed, len(latents))


def logits_of(
    learner: Learner, state: LearnerState, placed: Iterable[Array], count: int
) -> Float32[np.ndarray, "n classes"]:
    """The same of latents that are in batches already.

    Args:
        learner: What learned.
        state: What it learned.
        placed: From `batches`, for the learner's devices.
        count: Latents; what comes after them is padding.
    """
    weights = (predicting(learner, state), state.training.statistics)
    params, statistics = devices.on_each(learner.mesh, weights)
    latent_range = (state.memory.latent_max, state.memory.latent_min)
    test = functools.partial(_logits, learner.cut, latent_range, params, statistics)
    return np.concatenate([np.asarray(test(batch)) for batch in placed])[:count]


def batches(among: Mesh | None, latents: np.ndarray) -> Iterator[Array]:
    """Latents on the devices, in batches of one size, the last one padded with zeros.

    Args:
        among: Devices that share a batch, see `devices`.
        latents: [n, h, w, c], uint8 codes or float32.
    """
    size = _BATCH + devices.missing(among, _BATCH)
    for start in range(0, len(latents), size):
        batch = latents[start : start + size]
        padding = ((0, size - len(batch)), (0, 0), (0, 0), (0, 0))
        yield devices.shared(among, np.pad(batch, padding))


def on_device(among: Mesh | None, latents: np.ndarray) -> tuple[Array, ...] | None:
    """`batches` for many tests of the same latents; None where they are too large to be kept."""
    return tuple(batches(among, latents)) if latents.nbytes <= _ON_DEVICE_BYTES else None


def class_accuracy(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int
) -> Float32[np.ndarray, " classes"]:
    """Share of every class's images that are right; NaN for classes without images."""
    right = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float32)
    counts = np.bincount(labels, minlength=classes).astype(np.float32)
    return np.divide(right, counts, out=np.full(classes, np.nan, np.float32), where=counts > 0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _logits(
    cut: Cut,
    latent_range: tuple[float, float],
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    latents: replay.Latents,
) -> Float32[Array, "n classes"]:
    values = replay.decode_codes(latents, *latent_range)
    return adaptive.forward(cut, params, statistics, values)[0]
