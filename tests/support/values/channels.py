"""Per channel: batch normalization forward and backward, global average pooling."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from support.values.tile_values import F32, KernelValues, TileArray


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


def _plane(name: str) -> TileArray:
    return TileArray(name, F32, lambda s: (s.channels, s.hw))


def _vector(name: str) -> TileArray:
    return TileArray(name, F32, lambda s: (s.channels,))


VALUES = (
    KernelValues(
        "e4_bn", (_plane("x"), _vector("scale"), _vector("shift")), (_plane("y"),), scale_and_shift
    ),
    KernelValues("e5_stat", (_plane("x"),), (_vector("sum"), _vector("squares")), sums),
    KernelValues(
        "e6a_bnsum",
        (_plane("dy"), _vector("first"), _vector("second"), _plane("xhat")),
        (_vector("first"), _vector("second")),
        gradient_sums,
    ),
    KernelValues(
        "e6b_bnbwd",
        (_plane("dy"), _vector("first"), _plane("xhat"), _vector("second"), _vector("scale")),
        (_plane("dx"),),
        gradient,
        {"inverse": F32},
    ),
    KernelValues("e7_gapf", (_plane("x"),), (_vector("mean"),), pool, {"inverse": F32}),
    KernelValues(
        "e7_gapb", (_vector("dy"), _plane("dx")), (_plane("dx"),), pool_gradient, {"inverse": F32}
    ),
)
