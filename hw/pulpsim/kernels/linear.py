"""The classifier: linear layer of one sample forward and backward, softmax cross-entropy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pulpsim.cluster.l1 import Tile
from pulpsim.kernels.record import F32, S32, Kernel, Operand

HIGHEST = jax.lax.Precision.HIGHEST


def _n(tile: Tile) -> tuple[int, ...]:
    return (tile.scalars[3],)


def _k(tile: Tile) -> tuple[int, ...]:
    return (tile.scalars[4],)


def _nk(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[3], tile.scalars[4]


def _one(tile: Tile) -> tuple[int, ...]:
    return (1,)


def _row(tile: Tile) -> tuple[int, ...]:
    return 1, tile.scalars[4]


def forward(w: Float[Array, "n k"], x: Float[Array, " k"]) -> tuple[Float[Array, " n"]]:
    """Output: y = W x."""
    return (jnp.matmul(w, x, precision=HIGHEST),)


def input_gradient(
    w_columns: Float[Array, "k n"], dy: Float[Array, " n"]
) -> tuple[Float[Array, " k"]]:
    """Input gradient: dx = W^T dy of a share of the columns."""
    return (jnp.matmul(w_columns, dy, precision=HIGHEST),)


def weight_gradient(dy: Float[Array, " n"], x: Float[Array, " k"]) -> tuple[Float[Array, "n k"]]:
    """Weight gradient: dW = dy x^T."""
    return (dy[:, None] * x[None, :],)


def weight_gradient_accumulated(
    dy: Float[Array, " n"], x: Float[Array, " k"], dw: Float[Array, "n k"]
) -> tuple[Float[Array, "n k"]]:
    """Accumulated weight gradient: dW += dy x^T."""
    return (dw + dy[:, None] * x[None, :],)


def softmax_cross_entropy(
    z: Float[Array, "1 n"], label: Int[Array, ""], scale: Float[Array, ""]
) -> tuple[Float[Array, " 1"], Float[Array, "1 n"]]:
    """Loss of one sample and its gradient times `scale`."""
    log = jax.nn.log_softmax(z, axis=1)
    target = jax.nn.one_hot(label, z.shape[1], dtype=jnp.float32)
    return -log[:, label], (jnp.exp(log) - target[None, :]) * scale


_W, _X = Operand(0, F32, _nk), Operand(1, F32, _k, None)
_DY, _DW = Operand(0, F32, _n), Operand(2, F32, _nk)

KERNELS = (
    Kernel("l1_fwd", (_W, _X), (Operand(2, F32, _n),), forward),
    Kernel(
        "l2_igrad",
        (Operand(0, F32, _nk, 1), Operand(1, F32, _n, None)),
        (Operand(2, F32, _k),),
        input_gradient,
    ),
    Kernel("l3_wgrad", (_DY, _X), (_DW,), weight_gradient),
    Kernel("l3a_wgrad", (_DY, _X, _DW), (_DW,), weight_gradient_accumulated),
    Kernel(
        "e8_smx",
        (Operand(0, F32, _row),),
        (Operand(1, F32, _one), Operand(2, F32, _row)),
        softmax_cross_entropy,
        {3: S32, 5: F32},
    ),
)
