"""Predictions of a learner: logits, classes, accuracy per class."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float32, Int

from qlrjax import devices
from qlrjax.network import Cut
from qlrjax.training import adaptive, replay
from qlrjax.training.learner import Learner, LearnerState, predicting

_BATCH = 128


def logits(
    learner: Learner, state: LearnerState, latents: np.ndarray
) -> Float32[np.ndarray, "n classes"]:
    """Logits of latents, uint8 codes or float32, from what the strategy predicts with."""
    weights = (predicting(learner, state), state.training.statistics)
    params, statistics = devices.on_each(learner.mesh, weights)
    latent_range = (state.memory.latent_max, state.memory.latent_min)
    outputs, size = [], _BATCH + devices.missing(learner.mesh, _BATCH)
    for start in range(0, len(latents), size):
        batch = latents[start : start + size]
        padding = ((0, size - len(batch)), (0, 0), (0, 0), (0, 0))
        padded = devices.shared(learner.mesh, np.pad(batch, padding))
        values = _logits(learner.cut, latent_range, params, statistics, padded)
        outputs.append(np.asarray(values)[: len(batch)])
    return np.concatenate(outputs)


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
