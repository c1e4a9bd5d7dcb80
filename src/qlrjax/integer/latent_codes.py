"""Latents as codes: q = clip(floor(a / S + 1/2), 0, 2**bits - 1), used as S * q."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qlrjax.integer import fixedpoint


def scale(latent_max: float, bits: int) -> float:
    """S = a_max / (2**bits - 1), the real value of one code."""
    return latent_max / fixedpoint.code_max(bits)


def quantize(latents: Float32[Array, "*s"], latent_max: float, bits: int) -> UInt8[Array, "*s"]:
    """clip(floor(a / S + 1/2), 0, 2**bits - 1)."""
    scaled = latents / np.float32(scale(latent_max, bits)) + 0.5
    return jnp.clip(jnp.floor(scaled), 0, fixedpoint.code_max(bits)).astype(jnp.uint8)


def dequantize(codes: UInt8[Array, "*s"], latent_max: float, bits: int) -> Float32[Array, "*s"]:
    """S * q."""
    return codes.astype(jnp.float32) * np.float32(scale(latent_max, bits))
