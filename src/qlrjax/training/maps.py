"""How maps are kept between the passes of a mini-batch: FP32, or rounded to float16.

With float16 a trained layer's raw output z is rounded where it is stored, so normalisation,
activation and both gradients see the rounded values; and the gradient that comes back through the
activation is rounded where it is stored. All arithmetic stays FP32. Gradients are stored times
1,024, a power of two that keeps those of a mini-batch's mean loss away from float16's subnormals;
what is beyond 64 becomes infinite, as it would on the chip.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from qlrjax.training.protocol import Maps

GRADIENT_SCALE = 1024.0


def stored(z: Float32[Array, "n h w c"], maps: Maps) -> Float32[Array, "n h w c"]:
    """A raw output as it is read again; its gradient passes unchanged."""
    return z if maps == "float32" else _stored(z)


def returned(y: Float32[Array, "n h w c"], maps: Maps) -> Float32[Array, "n h w c"]:
    """A normalised output, unchanged; the gradient that comes back is as it is read again."""
    return y if maps == "float32" else _returned(y)


def rounded(gradient: Float32[Array, "..."], maps: Maps) -> Float32[Array, "..."]:
    """A gradient as it is read again."""
    if maps == "float32":
        return gradient
    scale = jnp.float32(GRADIENT_SCALE)
    return (gradient * scale).astype(jnp.float16).astype(jnp.float32) / scale


@jax.custom_vjp
def _stored(z: Array) -> Array:
    return z.astype(jnp.float16).astype(jnp.float32)


@jax.custom_vjp
def _returned(y: Array) -> Array:
    return y


def _forward(z: Array) -> tuple[Array, None]:
    return _stored(z), None


def _through(residual: None, gradient: Array) -> tuple[Array]:
    del residual
    return (gradient,)


def _unchanged(y: Array) -> tuple[Array, None]:
    return y, None


def _rounded(residual: None, gradient: Array) -> tuple[Array]:
    del residual
    return (rounded(gradient, "float16"),)


_stored.defvjp(_forward, _through)
_returned.defvjp(_unchanged, _rounded)
