"""Centered features: the head sees features less their running mean.

Features lie behind a ReLU, so that most of what a latent's features are is what all latents' are.
That common part is the steepest direction of a head's loss, and says nothing of a class: without
it the same few steps of gradient descent come further. The mean is followed by mini-batches, whose
replayed latents are of all events so far, and no gradient goes through it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32

from qlrjax.training.adaptive import Params

Center = Float32[Array, " c"] | None


def start(features: int, momentum: float) -> Center:
    """Nothing seen yet; None where features stay as they are."""
    return jnp.zeros((features,), jnp.float32) if momentum else None


def under(params: Params, center: Center) -> Params:
    """Parameters whose head sees features less the center, see `adaptive.score`."""
    return params if center is None else {**params, "center": center}


def follow(
    center: Center,
    seen: Float32[Array, "n c"],
    there: Bool[Array, " n"] | None,
    share: Float32[Array, ""],
) -> Center:
    """The center moved by a share of the way to a mini-batch's mean.

    Args:
        center: Before.
        seen: Features.
        there: Samples that count; None: all.
        share: 0 to 1.
    """
    if center is None:
        return None
    mean = jnp.mean(seen, axis=0, where=None if there is None else there[:, None])
    return center + share * (mean - center)
