"""Integer inference with requantization: pointwise, depthwise and first convolution.

In 32 bits, as the measured programs do it, or in 64 as the wide ones and the contract do.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Int8, Int32, UInt8
from support.values.tile_values import S8, S32, U8, KernelValues, TileArray

from qlrjax.integer import fixedpoint


def requantize(
    acc: Int32[Array, "*s"],
    kappa: Int32[Array, "*#s"],
    lam: Int32[Array, "*#s"],
    shift: Int[Array, ""],
) -> UInt8[Array, "*s"]:
    """clip((kappa acc + lam) >> shift) to a byte, in 32 bits."""
    return jnp.clip((acc * kappa + lam) >> shift, 0, 255).astype(jnp.uint8)


def requantize_wide(
    acc: Int32[Array, "*s"],
    kappa: Int32[Array, "*#s"],
    lam: Int32[Array, "*#s"],
    shift: Int[Array, ""],
) -> UInt8[Array, "*s"]:
    """The same in 64 bits, for shifts of 1 to 31 behind which the value has 32 bits."""
    high, low = fixedpoint.multiply_add(acc, kappa, lam)
    below = jax.lax.shift_right_logical(low, jnp.broadcast_to(shift, low.shape).astype(jnp.int32))
    return jnp.clip(below | (high << (32 - shift)), 0, 255).astype(jnp.uint8)


Finish = Callable[..., UInt8[Array, "*s"]]


def pointwise(
    w: Int8[Array, "n k"],
    x: UInt8[Array, "m k"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: Int[Array, ""],
    finish: Finish = requantize,
) -> tuple[UInt8[Array, "m n"]]:
    """Pixels x channels of a pointwise layer."""
    acc = jnp.matmul(x.astype(jnp.int32), w.T.astype(jnp.int32), preferred_element_type=jnp.int32)
    return (finish(acc, kappa[None], lam[None], shift),)


def depthwise(
    x: UInt8[Array, "c hin win"],
    w: Int8[Array, "c 12"],
    kappa: Int32[Array, " c"],
    lam: Int32[Array, " c"],
    shift: Int[Array, ""],
    stride: int = 1,
    finish: Finish = requantize,
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
    return (finish(acc, kappa[:, None, None], lam[:, None, None], shift),)


def first_convolution(
    w: Int8[Array, "n 28"],
    rows: UInt8[Array, "hout 3 win 3"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: Int[Array, ""],
    finish: Finish = requantize,
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
    return (finish(acc, kappa[None, None], lam[None, None], shift),)


def pool(
    x: UInt8[Array, "c hw"],
    kappa: Int32[Array, " c"],
    lam: Int32[Array, " c"],
    shift: Int[Array, ""],
    finish: Finish = requantize,
) -> tuple[UInt8[Array, " c"]]:
    """Sum over the pixels, requantized; kappa holds their number."""
    return (finish(jnp.sum(x.astype(jnp.int32), axis=1), kappa, lam, shift),)


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


def _values(wide: str, finish: Finish) -> tuple[KernelValues, ...]:
    """Of the programs that requantize one way; `wide` is in their names."""
    return (
        KernelValues(
            f"i1{wide}_4x2",
            (
                TileArray("w", S8, lambda s: (s.n, s.k), None),
                TileArray("x", U8, lambda s: (s.pixels, s.k)),
                *_SHARED,
            ),
            (TileArray("y", U8, lambda s: (s.pixels, s.n)),),
            functools.partial(pointwise, finish=finish),
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
                functools.partial(depthwise, stride=stride, finish=finish),
                _SHIFT,
            )
            for name, stride in ((f"i2{wide}_dw", 1), (f"i2s{wide}_dw", 2))
        ),
        KernelValues(
            f"i4{wide}_pool",
            (TileArray("x", U8, lambda s: (s.channels, s.hw)), *_EACH),
            (TileArray("y", U8, lambda s: (s.channels,)),),
            functools.partial(pool, finish=finish),
            _SHIFT,
        ),
        # The share's own input rows overlap its neighbours'; give them with `input_rows`.
        KernelValues(
            f"i3{wide}_conv",
            (
                TileArray("w", S8, lambda s: (s.n, 28), None),
                TileArray("x", U8, lambda s: (s.hout, 3, s.win, 3)),
                *_SHARED,
            ),
            (TileArray("y", U8, lambda s: (s.hout, s.wout, s.n)),),
            functools.partial(first_convolution, finish=finish),
            _SHIFT,
        ),
    )


VALUES = (*_values("", requantize), *_values("w", requantize_wide))
