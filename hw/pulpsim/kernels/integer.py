"""Integer inference with requantization: pointwise, depthwise and first convolution.

As on the cores, kappa * acc + lambda stays in 32 bits; the ranges that quantization picks keep it
there, so the bits are those of the 64-bit contract.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Int8, Int32, UInt8

from pulpsim.cluster.l1 import Tile
from pulpsim.kernels.record import S8, S32, U8, Kernel, Operand


def _channels(tile: Tile) -> tuple[int, ...]:
    return (tile.scalars[3],)


def _planes(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[5], tile.scalars[3], tile.scalars[4]


def _outputs(stride: int, tile: Tile) -> tuple[int, ...]:
    channels, hin, win = _planes(tile)
    return channels, (hin - 3) // stride + 1, (win - 3) // stride + 1


def requantize(
    acc: Int32[Array, "*s"],
    kappa: Int32[Array, "*#s"],
    lam: Int32[Array, "*#s"],
    shift: Int[Array, ""],
) -> UInt8[Array, "*s"]:
    """clip((kappa acc + lam) >> shift) to a byte."""
    return jnp.clip((acc * kappa + lam) >> shift, 0, 255).astype(jnp.uint8)


def pointwise(
    w: Int8[Array, "n k"],
    x: UInt8[Array, "m k"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: Int[Array, ""],
) -> tuple[UInt8[Array, "m n"]]:
    """Pixels x channels of a pointwise layer."""
    acc = jnp.matmul(x.astype(jnp.int32), w.T.astype(jnp.int32), preferred_element_type=jnp.int32)
    return (requantize(acc, kappa[None], lam[None], shift),)


def depthwise(
    x: UInt8[Array, "c hin win"],
    w: Int8[Array, "c 12"],
    kappa: Int32[Array, " c"],
    lam: Int32[Array, " c"],
    shift: Int[Array, ""],
    stride: int = 1,
) -> tuple[UInt8[Array, "c hout wout"]]:
    """Padded input; each row of weights ends with a zero."""
    rows, columns = (x.shape[1] - 3) // stride + 1, (x.shape[2] - 3) // stride + 1
    acc = jnp.zeros((x.shape[0], rows, columns), jnp.int32)
    for row in range(3):
        for column in range(3):
            window = x[:, row::stride, column::stride][:, :rows, :columns]
            acc = acc + window.astype(jnp.int32) * w[:, 4 * row + column, None, None].astype(
                jnp.int32
            )
    return (requantize(acc, kappa[:, None, None], lam[:, None, None], shift),)


def first_convolution(
    w: Int8[Array, "n 28"],
    rows: UInt8[Array, "hout 3 win 3"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: Int[Array, ""],
) -> tuple[UInt8[Array, "hout wout n"]]:
    """3x3, stride 2, on the three input rows of every output row."""
    wout = (rows.shape[2] - 1) // 2
    taps = [rows[:, :, tap : tap + 2 * wout - 1 : 2] for tap in range(3)]
    patches = jnp.stack(taps, axis=3)  # hout, ky, wout, kx, channel
    flat = jnp.moveaxis(patches, 2, 1).reshape(rows.shape[0], wout, 27).astype(jnp.int32)
    acc = jax.lax.dot_general(
        flat, w[:, :27].astype(jnp.int32), (((2,), (1,)), ((), ())),
        preferred_element_type=jnp.int32,
    )  # fmt: skip
    return (requantize(acc, kappa[None, None], lam[None, None], shift),)


def pool(
    x: UInt8[Array, "c hw"],
    kappa: Int32[Array, " c"],
    lam: Int32[Array, " c"],
    shift: Int[Array, ""],
) -> tuple[UInt8[Array, " c"]]:
    """Sum over the pixels, requantized; kappa holds their number."""
    return (requantize(jnp.sum(x.astype(jnp.int32), axis=1), kappa, lam, shift),)


def input_rows(x: UInt8[Array, "hin win 3"]) -> UInt8[Array, "hout 3 win 3"]:
    """The three input rows of every output row of the first convolution."""
    hout = (x.shape[0] - 1) // 2
    return jnp.stack([x[row : row + 2 * hout - 1 : 2] for row in range(3)], axis=1)


def _w_pointwise(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[3], tile.scalars[4]


def _x_pointwise(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[5], tile.scalars[4]


def _y_pointwise(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[5], tile.scalars[3]


def _w_depthwise(tile: Tile) -> tuple[int, ...]:
    return tile.items, 12


def _pixels(tile: Tile) -> tuple[int, ...]:
    return tile.items, tile.scalars[4]


def _each(tile: Tile) -> tuple[int, ...]:
    return (tile.items,)


def _w_first(tile: Tile) -> tuple[int, ...]:
    return tile.scalars[3], 28


def _rows_first(tile: Tile) -> tuple[int, ...]:
    return tile.items, 3, tile.scalars[4], 3


def _y_first(tile: Tile) -> tuple[int, ...]:
    return tile.items, tile.scalars[5], tile.scalars[3]


_SHARED = (Operand(8, S32, _channels, None), Operand(9, S32, _channels, None))

KERNELS = (
    Kernel(
        "i1_4x2",
        (Operand(0, S8, _w_pointwise, None), Operand(1, U8, _x_pointwise), *_SHARED),
        (Operand(2, U8, _y_pointwise),),
        pointwise,
        {10: S32},
    ),
    *(
        Kernel(
            name,
            (
                Operand(0, U8, _planes),
                Operand(1, S8, _w_depthwise),
                Operand(8, S32, _each),
                Operand(9, S32, _each),
            ),
            (Operand(2, U8, functools.partial(_outputs, stride)),),
            functools.partial(depthwise, stride=stride),
            {10: S32},
            measured=stride == 1,
        )
        for name, stride in (("i2_dw", 1), ("i2s_dw", 2))
    ),
    Kernel(
        "i4_pool",
        (Operand(0, U8, _pixels), Operand(8, S32, _each), Operand(9, S32, _each)),
        (Operand(2, U8, _each),),
        pool,
        {10: S32},
        measured=False,
    ),
    # The share's own input rows overlap its neighbours'; give them with `input_rows`.
    Kernel(
        "i3_conv",
        (Operand(0, S8, _w_first, None), Operand(1, U8, _rows_first), *_SHARED),
        (Operand(2, U8, _y_first),),
        first_convolution,
        {10: S32},
    ),
)
