"""Predictions of a learner: logits, classes, accuracy per class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from qlrjax.network import Cut
from qlrjax.training import adaptive, replay
from qlrjax.training.learner import Learner, LearnerState, predicting

_BATCH = 128


def logits(
    learner: Learner, state: LearnerState, latents: np.ndarray
) -> Float32[np.ndarray, "n classes"]:
    """Logits of latents, uint8 codes or float32, from what the strategy predicts with."""
    params, statistics = predicting(learner, state), state.training.statistics
    latent_range = (state.memory.latent_max, state.memory.latent_min)
    outputs = []
    for start in range(0, len(latents), _BATCH):
        batch = latents[start : start + _BATCH]
        padding = ((0, _BATCH - len(batch)), (0, 0), (0, 0), (0, 0))
        padded = jnp.asarray(np.pad(batch, padding))
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
