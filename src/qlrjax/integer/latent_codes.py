"""Latents as codes: q = clip(floor((a - a_0) / S + 1/2), 0, 2**bits - 1), used as a_0 + S * q.

a_0, the value of code 0, is 0 after a ReLU, and below it where a latent can be negative.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qlrjax.integer import fixedpoint


def scale(latent_span: float, bits: int) -> float:
    """S = span / (2**bits - 1), the real value of one code."""
    return latent_span / fixedpoint.code_max(bits)


def quantize(
    latents: Float32[Array, "*s"], latent_span: float, bits: int, latent_min: float = 0.0
) -> UInt8[Array, "*s"]:
    """clip(floor((a - a_0) / S + 1/2), 0, 2**bits - 1)."""
    if latent_min:
        latents = latents - np.float32(latent_min)
    scaled = latents / np.float32(scale(latent_span, bits)) + 0.5
    return jnp.clip(jnp.floor(scaled), 0, fixedpoint.code_max(bits)).astype(jnp.uint8)


def dequantize(
    codes: UInt8[Array, "*s"], latent_span: float, bits: int, latent_min: float = 0.0
) -> Float32[Array, "*s"]:
    """a_0 + S * q."""
    latents = codes.astype(jnp.float32) * np.float32(scale(latent_span, bits))
    return latents + np.float32(latent_min) if latent_min else latents
