"""The classifier: linear layer of one sample forward and backward, softmax cross-entropy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from support.values.tile_values import F32, S32, KernelValues, TileArray

HIGHEST = jax.lax.Precision.HIGHEST


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


_W = TileArray("w", F32, lambda s: (s.rows, s.k))
_X = TileArray("x", F32, lambda s: (s.k,), None)
_DY = TileArray("dy", F32, lambda s: (s.rows,))
_DW = TileArray("dw", F32, lambda s: (s.rows, s.k))

VALUES = (
    KernelValues("l1_fwd", (_W, _X), (TileArray("y", F32, lambda s: (s.rows,)),), forward),
    KernelValues(
        "l2_igrad",
        (
            TileArray("w", F32, lambda s: (s.rows, s.k), 1),
            TileArray("dy", F32, lambda s: (s.rows,), None),
        ),
        (TileArray("dx", F32, lambda s: (s.k,)),),
        input_gradient,
    ),
    KernelValues("l3_wgrad", (_DY, _X), (_DW,), weight_gradient),
    KernelValues("l3a_wgrad", (_DY, _X, _DW), (_DW,), weight_gradient_accumulated),
    KernelValues(
        "e8_smx",
        (TileArray("z", F32, lambda s: (1, s.logits)),),
        (TileArray("loss", F32, lambda s: (1,)), TileArray("dz", F32, lambda s: (1, s.logits))),
        softmax_cross_entropy,
        {"label": S32, "scale": F32},
    ),
)
