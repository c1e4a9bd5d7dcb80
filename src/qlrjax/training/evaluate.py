"""Predictions of a learner: logits, classes, accuracy per class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from qlrjax.network import Network
from qlrjax.training import adaptive, learner, replay
from qlrjax.training.learner import LearnerState
from qlrjax.training.protocol import Protocol

_BATCH = 128


def logits(
    network: Network,
    latent_layer: int,
    protocol: Protocol,
    state: LearnerState,
    latents: np.ndarray,
) -> Float32[np.ndarray, "n classes"]:
    """Logits of latents, uint8 codes or float32, with the consolidated head under CWR*."""
    params = learner.inference_params(protocol, state)
    outputs = []
    for start in range(0, len(latents), _BATCH):
        batch = latents[start : start + _BATCH]
        padding = ((0, _BATCH - len(batch)), (0, 0), (0, 0), (0, 0))
        values = _logits(
            network, latent_layer, state.memory.latent_max, params, state.training.statistics,
            jnp.asarray(np.pad(batch, padding)),
        )  # fmt: skip
        outputs.append(np.asarray(values)[: len(batch)])
    return np.concatenate(outputs)


def class_accuracy(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int
) -> Float32[np.ndarray, " classes"]:
    """Share of every class's images that are right; NaN for classes without images."""
    right = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float32)
    counts = np.bincount(labels, minlength=classes).astype(np.float32)
    return np.divide(right, counts, out=np.full(classes, np.nan, np.float32), where=counts > 0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _logits(
    network: Network,
    latent_layer: int,
    latent_max: float,
    params: adaptive.Params,
    statistics: adaptive.Statistics,
    latents: replay.Latents,
) -> Float32[Array, "n classes"]:
    values = replay.decode_codes(latents, latent_max)
    return adaptive.forward(network, latent_layer, params, statistics, values)[0]
