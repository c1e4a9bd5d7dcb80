"""Per channel: batch normalization forward and backward, global average pooling."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pulpsim.cluster.l1 import Tile
from pulpsim.kernels.record import F32, Kernel, Operand


def _plane(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[5], tile.scalars[4]


def _vector(tile: Tile) -> tuple[int, ...]:
    return (tile.scalars[5],)


def scale_and_shift(
    x: Float[Array, "c hw"], scale: Float[Array, " c"], shift: Float[Array, " c"]
) -> tuple[Float[Array, "c hw"]]:
    """Normalization with known statistics."""
    return (x * scale[:, None] + shift[:, None],)


def sums(x: Float[Array, "c hw"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Sum and sum of squares."""
    return jnp.sum(x, axis=1), jnp.sum(x * x, axis=1)


def gradient_sums(
    dy: Float[Array, "c hw"],
    first: Float[Array, " c"],
    second: Float[Array, " c"],
    xhat: Float[Array, "c hw"],
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Adds to both sums: first += sum dy; second += sum dy xhat."""
    return first + jnp.sum(dy, axis=1), second + jnp.sum(dy * xhat, axis=1)


def gradient(
    dy: Float[Array, "c hw"],
    first: Float[Array, " c"],
    xhat: Float[Array, "c hw"],
    second: Float[Array, " c"],
    scale: Float[Array, " c"],
    inverse: Float[Array, ""],
) -> tuple[Float[Array, "c hw"]]:
    """Input gradient: dx = scale (dy - inverse first - xhat inverse second)."""
    mean, slope = inverse * first[:, None], inverse * second[:, None]
    return (scale[:, None] * (dy - mean - xhat * slope),)


def pool(x: Float[Array, "c hw"], inverse: Float[Array, ""]) -> tuple[Float[Array, " c"]]:
    """Mean: inverse * sum of each channel."""
    return (jnp.sum(x, axis=1) * inverse,)


def pool_gradient(
    dy: Float[Array, " c"], like: Float[Array, "c hw"], inverse: Float[Array, ""]
) -> tuple[Float[Array, "c hw"]]:
    """The same share of the gradient for every pixel; `like` gives the size."""
    return (jnp.zeros_like(like) + (dy * inverse)[:, None],)


_X, _DX = Operand(0, F32, _plane), Operand(2, F32, _plane)
_XHAT = Operand(3, F32, _plane)


def _v(word: int) -> Operand:
    return Operand(word, F32, _vector)


KERNELS = (
    Kernel("e4_bn", (_X, _v(1), _v(3)), (_DX,), scale_and_shift),
    Kernel("e5_stat", (_X,), (_v(1), _v(2)), sums),
    Kernel("e6a_bnsum", (_X, _v(1), _v(2), _XHAT), (_v(1), _v(2)), gradient_sums),
    Kernel("e6b_bnbwd", (_X, _v(1), _XHAT, _v(8), _v(9)), (_DX,), gradient, {10: F32}),
    Kernel("e7_gapf", (_X,), (_v(2),), pool, {3: F32}),
    Kernel("e7_gapb", (_v(0), _DX), (_DX,), pool_gradient, {3: F32}),
)
