"""Matrix products: pointwise layers forward and backward, C[N, M] of K terms."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from support.values.tile_values import F32, S8, S32, KernelValues, TileArray

HIGHEST = jax.lax.Precision.HIGHEST


def product(a: Float[Array, "n k"], b: Float[Array, "k m"]) -> tuple[Float[Array, "n m"]]:
    """C = A B."""
    return (jnp.matmul(a, b, precision=HIGHEST),)


def product_transposed(
    a: Float[Array, "n k"], b: Float[Array, "m k"]
) -> tuple[Float[Array, "n m"]]:
    """C = A B^T."""
    return (jnp.matmul(a, b.T, precision=HIGHEST),)


def accumulate(
    a: Float[Array, "n k"], b: Float[Array, "m k"], c: Float[Array, "n m"]
) -> tuple[Float[Array, "n m"]]:
    """C += A B^T."""
    return (c + jnp.matmul(a, b.T, precision=HIGHEST),)


def integer_product(w: Int[Array, "n k"], x: Int[Array, "m k"]) -> tuple[Int[Array, "m n"]]:
    """C = X W^T with 32-bit sums."""
    return (jnp.matmul(x, w.T, preferred_element_type=jnp.int32),)


def columns(patches: Float[Array, "m 3 9"]) -> tuple[Float[Array, "m 27"]]:
    """A pixel's 27 inputs below each other; the outputs' second axis is split."""
    return (patches.reshape(patches.shape[0], 27),)


def input_patches(x: Float[Array, "3 win 3"]) -> Float[Array, "m 3 9"]:
    """The three runs of nine words of every second position of three input rows."""
    m = (x.shape[1] - 1) // 2
    taps = [x[:, tap : tap + 2 * m - 1 : 2] for tap in range(3)]
    return jnp.moveaxis(jnp.concatenate(taps, axis=2), 1, 0)


_A = TileArray("a", F32, lambda s: (s.rows, s.k))
_B = TileArray("b", F32, lambda s: (s.k, s.m), None)
_BT = TileArray("b", F32, lambda s: (s.m, s.k), None)
_C = TileArray("c", F32, lambda s: (s.rows, s.m))

VALUES = (
    *(KernelValues(name, (_A, _B), (_C,), product) for name in ("p1_2x4", "p4_4x4", "xmm_2x4")),
    KernelValues("xmm_naive", (_A, _B), (_C,), product),
    KernelValues("xmm_naive_T", (_A, _BT), (_C,), product_transposed),
    KernelValues("p2_2x4", (_A, _BT), (_C,), product_transposed),
    KernelValues("p2a_2x4", (_A, _BT, _C), (_C,), accumulate),
    # A is stored [k, rows]; a share is some of its columns, which come first.
    KernelValues("p3_2x4", (TileArray("a", F32, lambda s: (s.k, s.rows), 1), _B), (_C,), product),
    KernelValues(
        "xmm_i8_4x2",
        (
            TileArray("w", S8, lambda s: (s.n, s.k), None),
            TileArray("x", S8, lambda s: (s.pixels, s.k)),
        ),
        (TileArray("y", S32, lambda s: (s.pixels, s.n)),),
        integer_product,
    ),
    # A share's input rows overlap its neighbours'; give patches, with `input_patches`.
    KernelValues(
        "c0_im2col",
        (TileArray("x", F32, lambda s: (s.pixels, 3, 9)),),
        (TileArray("columns", F32, lambda s: (27, s.pixels), 1),),
        columns,
    ),
)
