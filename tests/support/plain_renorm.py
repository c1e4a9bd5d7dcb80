"""Batch renorm as its formula reads, whose gradient is JAX's own."""

import jax
import jax.numpy as jnp

from qlrjax.training import renorm


def batch_moments(y, epsilon):
    """Mean and sqrt(biased variance + epsilon) per channel."""
    mean = jnp.mean(y, axis=(0, 1, 2))
    variance = jnp.mean((y - row(mean)) ** 2, axis=(0, 1, 2))
    return {"mean": mean, "std": jnp.sqrt(variance + epsilon)}


def renormalise(y, batch, running, limits):
    """(y - mean_B) / std_B * r + d, with r and d held constant in the gradient (Ioffe 2017)."""
    r, d = jax.lax.stop_gradient(renorm.corrections(batch, running, limits))
    return (y - row(batch["mean"])) * row(r / batch["std"]) + row(d)


def row(values):
    return values.reshape(1, 1, 1, -1)
