"""Depthwise 3x3 layers in FP32: forward, input gradient, weight gradient; strides 1 and 2."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float
from support.values.tile_values import F32, KernelValues, TileArray

_TAPS = [(row, column) for row in range(3) for column in range(3)]


def _window(
    x: Float[Array, "c hin win"], row: int, column: int, stride: int, shape: tuple[int, ...]
) -> Float[Array, "c hout wout"]:
    rows = row + stride * (shape[0] - 1) + 1
    columns = column + stride * (shape[1] - 1) + 1
    return x[:, row:rows:stride, column:columns:stride]


def forward(
    x: Float[Array, "c hin win"], w: Float[Array, "c 9"], stride: int = 1
) -> tuple[Float[Array, "c hout wout"]]:
    """Output of a padded input."""
    shape = tuple((size - 3) // stride + 1 for size in x.shape[1:])
    terms = (
        _window(x, row, column, stride, shape) * w[:, index, None, None]
        for index, (row, column) in enumerate(_TAPS)
    )
    return (functools.reduce(jnp.add, terms),)


def backward(
    dy: Float[Array, "c hin win"], w: Float[Array, "c 9"]
) -> tuple[Float[Array, "c hout wout"]]:
    """Input gradient, stride 1: forward with the weights reversed, of a padded gradient."""
    return forward(dy, w[:, ::-1])


def backward_stride2(
    dy: Float[Array, "c rows columns"], w: Float[Array, "c 9"]
) -> tuple[Float[Array, "c hout wout"]]:
    """Input gradient, stride 2, padding 1: each 2x2 block of dx from a 2x2 window of dy.

    The last row and column of `dy` are zero; they are the window's part outside.
    """
    w = w[:, :, None, None]
    here, right = dy[:, :-1, :-1], dy[:, :-1, 1:]
    below, across = dy[:, 1:, :-1], dy[:, 1:, 1:]
    even = jnp.stack([here * w[:, 4], here * w[:, 5] + right * w[:, 3]], -1)
    both = here * w[:, 8] + right * w[:, 6] + below * w[:, 2] + across * w[:, 0]
    odd = jnp.stack([here * w[:, 7] + below * w[:, 1], both], -1)
    channels, rows, columns = here.shape
    return (jnp.stack([even, odd], 2).reshape(channels, 2 * rows, 2 * columns),)


def weights(
    x: Float[Array, "c hin win"], dy: Float[Array, "c hout wout"], stride: int = 1
) -> tuple[Float[Array, "c 9"]]:
    """Weight gradient."""
    sums = [
        jnp.sum(_window(x, row, column, stride, dy.shape[1:]) * dy, axis=(1, 2))
        for row, column in _TAPS
    ]
    return (jnp.stack(sums, axis=1),)


def weights_accumulated(
    x: Float[Array, "c hin win"],
    dy: Float[Array, "c hout wout"],
    dw: Float[Array, "c 9"],
    stride: int = 1,
) -> tuple[Float[Array, "c 9"]]:
    """Weight gradient added to `dw`."""
    return (dw + weights(x, dy, stride)[0],)


_X = TileArray("x", F32, lambda s: (s.channels, s.hin, s.win))
_W = TileArray("w", F32, lambda s: (s.channels, 9))
_Y1 = TileArray("y", F32, lambda s: (s.channels, s.hin - 2, s.win - 2))
_Y2 = TileArray("y", F32, lambda s: (s.channels, (s.hin - 3) // 2 + 1, (s.win - 3) // 2 + 1))
_DY = TileArray("dy", F32, lambda s: (s.channels, s.ho + 1, s.wo + 1))
_DX = TileArray("dx", F32, lambda s: (s.channels, 2 * s.ho, 2 * s.wo))
_forward2 = functools.partial(forward, stride=2)

VALUES = (
    *(KernelValues(n, (_X, _W), (_Y1,), forward) for n in ("d1_col", "xdw_naive", "xdw_unroll")),
    KernelValues("d3_col", (_X, _W), (_Y1,), backward),
    KernelValues("d1s_s2", (_X, _W), (_Y2,), _forward2),
    KernelValues("d1s_col", (_X, _W), (_Y2,), _forward2),
    KernelValues("d3s_igrad", (_DY, _W), (_DX,), backward_stride2),
    KernelValues("d2_wgrad", (_X, _Y1), (_W,), weights),
    KernelValues("d2s_wgrad", (_X, _Y2), (_W,), functools.partial(weights, stride=2)),
    KernelValues("d2a_wgrad", (_X, _Y1, _W), (_W,), weights_accumulated),
    KernelValues(
        "d2sa_wgrad", (_X, _Y2, _W), (_W,), functools.partial(weights_accumulated, stride=2)
    ),
)
