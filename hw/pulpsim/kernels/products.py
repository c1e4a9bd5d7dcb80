"""Matrix products: pointwise layers forward and backward, C[N, M] of K terms."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pulpsim.cluster.l1 import Tile
from pulpsim.kernels.record import F32, S8, S32, Kernel, Operand

HIGHEST = jax.lax.Precision.HIGHEST


def _sizes(tile: Tile) -> tuple[int, int, int]:
    return tile.scalars[3], tile.scalars[4], tile.scalars[5]


def _nk(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[:2]


def _kn(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[1::-1]


def _km(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[1:]


def _mk(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[:0:-1]


def _nm(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[::2]


def _mn(tile: Tile) -> tuple[int, ...]:
    return _sizes(tile)[::-2]


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


def _patches(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[4], 3, 9


def _columns(tile: Tile) -> tuple[int, ...]:
    return 27, tile.scalars[4]


_A, _B, _C = Operand(0, F32, _nk), Operand(1, F32, _km, None), Operand(2, F32, _nm)
_BT = Operand(1, F32, _mk, None)

KERNELS = (
    *(Kernel(name, (_A, _B), (_C,), product) for name in ("p1_2x4", "p4_4x4", "xmm_2x4")),
    Kernel("xmm_naive", (_A, _B), (_C,), product),
    Kernel("xmm_naive_T", (_A, _BT), (_C,), product_transposed),
    Kernel("p2_2x4", (_A, _BT), (_C,), product_transposed),
    Kernel("p2a_2x4", (_A, _BT, _C), (_C,), accumulate),
    # W is stored [K, N]; a share is some of its columns, which come first.
    Kernel("p3_2x4", (Operand(0, F32, _kn, 1), _B), (_C,), product),
    Kernel(
        "xmm_i8_4x2",
        (Operand(0, S8, _nk, None), Operand(1, S8, _mk)),
        (Operand(2, S32, _mn),),
        integer_product,
    ),
    # A share's input rows overlap its neighbours'; give patches, with `input_patches`.
    Kernel(
        "c0_im2col",
        (Operand(0, F32, _patches),),
        (Operand(2, F32, _columns, 1),),
        columns,
        measured=False,
    ),
)
