"""Integer inference with requantization: pointwise, depthwise and first convolution.

As on the cores, kappa * acc + lambda stays in 32 bits; the ranges that quantization picks keep it
there, so the bits are those of the 64-bit contract.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Int8, Int32, UInt8
from support.values.tile_values import S8, S32, U8, KernelValues, TileArray


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
        flat,
        w[:, :27].astype(jnp.int32),
        (((2,), (1,)), ((), ())),
        preferred_element_type=jnp.int32,
    )
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


_SHARED = (
    TileArray("kappa", S32, lambda s: (s.n,), None),
    TileArray("lam", S32, lambda s: (s.n,), None),
)
_EACH = (
    TileArray("kappa", S32, lambda s: (s.channels,)),
    TileArray("lam", S32, lambda s: (s.channels,)),
)
_SHIFT = {"shift": S32}

VALUES = (
    KernelValues(
        "i1_4x2",
        (
            TileArray("w", S8, lambda s: (s.n, s.k), None),
            TileArray("x", U8, lambda s: (s.pixels, s.k)),
            *_SHARED,
        ),
        (TileArray("y", U8, lambda s: (s.pixels, s.n)),),
        pointwise,
        _SHIFT,
    ),
    *(
        KernelValues(
            name,
            (
                TileArray("x", U8, lambda s: (s.channels, s.hin, s.win)),
                TileArray("w", S8, lambda s: (s.channels, 12)),
                *_EACH,
            ),
            (TileArray("y", U8, lambda s: (s.channels, s.hout, s.wout)),),
            functools.partial(depthwise, stride=stride),
            _SHIFT,
        )
        for name, stride in (("i2_dw", 1), ("i2s_dw", 2))
    ),
    KernelValues(
        "i4_pool",
        (TileArray("x", U8, lambda s: (s.channels, s.hw)), *_EACH),
        (TileArray("y", U8, lambda s: (s.channels,)),),
        pool,
        _SHIFT,
    ),
    # The share's own input rows overlap its neighbours'; give them with `input_rows`.
    KernelValues(
        "i3_conv",
        (
            TileArray("w", S8, lambda s: (s.n, 28), None),
            TileArray("x", U8, lambda s: (s.hout, 3, s.win, 3)),
            *_SHARED,
        ),
        (TileArray("y", U8, lambda s: (s.hout, s.wout, s.n)),),
        first_convolution,
        _SHIFT,
    ),
)
