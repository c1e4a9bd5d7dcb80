"""What graphs need besides products and 3x3 windows: 5x5 windows, adds, maxima, columns."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, Int32, UInt8
from support.values.integer import requantize_wide
from support.values.tile_values import F32, S8, S32, U8, KernelValues, TileArray

from qlrjax.integer import fixedpoint


def _views(x: Array, stride: int, columns: int) -> list[tuple[int, Array]]:
    """(tap, inputs of all outputs) of a 5x5 window; a row of weights has `columns` of them."""
    rows, wide = (x.shape[1] - 5) // stride + 1, (x.shape[2] - 5) // stride + 1
    return [
        (columns * i + j, x[:, i::stride, j::stride][:, :rows, :wide])
        for i in range(5)
        for j in range(5)
    ]


def forward(
    x: Float[Array, "c hin win"], w: Float[Array, "c 25"], stride: int
) -> tuple[Float[Array, "c hout wout"]]:
    """Output of a padded input."""
    terms = (view * w[:, tap, None, None] for tap, view in _views(x, stride, 5))
    return (functools.reduce(jnp.add, terms),)


def input_gradient(
    w: Float[Array, "c 25"],
    dy: Float[Array, "c hout wout"],
    like: Float[Array, "c hin win"],
    stride: int,
) -> tuple[Float[Array, "c hin win"]]:
    """Gradient of the padded input, by JAX; `like` gives the size."""
    return jax.vjp(lambda x: forward(x, w, stride)[0], jnp.zeros_like(like))[1](dy)


def weights(
    x: Float[Array, "c hin win"],
    dy: Float[Array, "c hout wout"],
    dw: Float[Array, "c 25"],
    stride: int,
) -> tuple[Float[Array, "c 25"]]:
    """Weight gradient, by JAX, added to `dw`."""
    return (dw + jax.vjp(lambda w: forward(x, w, stride)[0], jnp.zeros_like(dw))[1](dy)[0],)


def codes(
    x: UInt8[Array, "c hin win"],
    w: Int8[Array, "c 40"],
    kappa: Int32[Array, " c"],
    lam: Int32[Array, " c"],
    shift: Int[Array, ""],
    stride: int,
) -> tuple[UInt8[Array, "c hout wout"]]:
    """Padded input; a row of weights ends with three zeros."""
    terms = (
        view.astype(jnp.int32) * w[:, tap, None, None].astype(jnp.int32)
        for tap, view in _views(x, stride, 8)
    )
    acc = functools.reduce(jnp.add, terms)
    return (requantize_wide(acc, kappa[:, None, None], lam[:, None, None], shift),)


def add_codes(
    a: UInt8[Array, "c hw"],
    b: UInt8[Array, "c hw"],
    kappa: Int32[Array, " c"],
    kappa_b: Int32[Array, " c"],
    lam: Int32[Array, " c"],
) -> tuple[UInt8[Array, "c hw"]]:
    """The library's own add, whose channels are innermost; the programs shift by 8."""
    return (fixedpoint.requantize_sum(a.T, b.T, (kappa, kappa_b), lam, 8, 8).T,)


def largest(windows: UInt8[Array, "m taps c"]) -> tuple[UInt8[Array, "m c"]]:
    """Largest code of every channel."""
    return (jnp.max(windows, axis=1),)


def same(rows: UInt8[Array, "m k"]) -> tuple[UInt8[Array, "m k"]]:
    """Columns are the rows of the windows as they are."""
    return (rows,)


def windows_of(
    x: UInt8[Array, "rows width c"], columns: int, stride: int
) -> UInt8[Array, "m taps c"]:
    """The windows of an output row; a share's own overlap its neighbours'."""
    count = (x.shape[1] - columns) // stride + 1
    found = [x[:, m * stride : m * stride + columns].reshape(-1, x.shape[2]) for m in range(count)]
    return jnp.stack(found)


def rows_of(x: UInt8[Array, "rows row"], pixels: int, words: int, step: int) -> Array:
    """Whole words from where every pixel's window begins, row by row."""
    found = [x[:, m * step : m * step + 4 * words].reshape(-1) for m in range(pixels)]
    return jnp.stack(found)


def _planes(stride: int) -> tuple[TileArray, TileArray, TileArray]:
    def outputs(s):
        return (s.channels, (s.hin - 5) // stride + 1, (s.win - 5) // stride + 1)

    return (
        TileArray("x", F32, lambda s: (s.channels, s.hin, s.win)),
        TileArray("w", F32, lambda s: (s.channels, 25)),
        TileArray("y", F32, outputs),
    )


def _depthwise(stride: int, s: str) -> tuple[KernelValues, ...]:
    x, w, y = _planes(stride)
    per = {"stride": stride}
    return (
        KernelValues(f"d5{s}_fwd", (x, w), (y,), functools.partial(forward, **per)),
        KernelValues(f"d5{s}_igrad", (w, y, x), (x,), functools.partial(input_gradient, **per)),
        KernelValues(f"d5{s}a_wgrad", (x, y, w), (w,), functools.partial(weights, **per)),
        KernelValues(
            f"i5{s}w_dw",
            (
                TileArray("x", U8, x.shape),
                TileArray("w", S8, lambda s: (s.channels, 40)),
                *(TileArray(name, S32, lambda s: (s.channels,)) for name in ("kappa", "lam")),
            ),
            (TileArray("y", U8, y.shape),),
            functools.partial(codes, **per),
            {"shift": S32},
        ),
    )


def _codes(name: str) -> TileArray:
    return TileArray(name, U8, lambda s: (s.channels, s.hw))


def _floats(name: str) -> TileArray:
    return TileArray(name, F32, lambda s: (s.elements,))


VALUES = (
    *_depthwise(1, ""),
    *_depthwise(2, "s"),
    KernelValues(
        "i7w_add",
        (
            _codes("a"),
            _codes("b"),
            *(TileArray(one, S32, lambda s: (s.channels,)) for one in ("kappa", "kappa_b", "lam")),
        ),
        (_codes("y"),),
        add_codes,
    ),
    KernelValues(
        "i8_max",
        (TileArray("x", U8, lambda s: (s.pixels, s.rows * s.columns, s.channels)),),
        (TileArray("y", U8, lambda s: (s.pixels, s.channels)),),
        largest,
    ),
    KernelValues(
        "i6_im2row",
        (TileArray("x", U8, lambda s: (s.pixels, 4 * s.rows * s.words)),),
        (TileArray("columns", U8, lambda s: (s.pixels, 4 * s.rows * s.words)),),
        same,
    ),
    KernelValues("e11_add", (_floats("a"), _floats("b")), (_floats("y"),), lambda a, b: (a + b,)),
)
