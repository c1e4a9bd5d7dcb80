"""The values of a layer's pass, computed as the chip would: tile by tile, one share per core.

Every function walks the tiles that the search picked, in the order of the walk, and `vmap`s a
kernel over the cores' shares of a tile; matrix products add up over tiles of k in L1. Integer
passes give the plain computation's bits, FP32 passes its values up to the order of the sums.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, Int32, UInt8
from pulpsim.cost.products import Product
from pulpsim.kernels.record import largest_share

from qlrjax.integer import fixedpoint

TileSizes = tuple[int, ...]
HIGHEST = jax.lax.Precision.HIGHEST


def over_cores(
    kernel: Callable[..., Array],
    split: tuple[Any, ...],
    shared: tuple[Any, ...],
    cores: int,
    granularity: int = 1,
) -> np.ndarray:
    """Runs a kernel on every core's share of a tile.

    Args:
        kernel: (*shares, *shared) -> the share's output, items first.
        split: Arrays whose first axis holds the tile's items.
        shared: What every core reads.
        cores: Workers.
        granularity: A share is a multiple of this.
    """
    items = split[0].shape[0]
    size = int(largest_share(items, cores, granularity))

    def chunks(array: Any) -> np.ndarray:
        array = np.asarray(array)
        padding = [(0, cores * size - items)] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, padding).reshape(cores, size, *array.shape[1:])

    found = _on_all(kernel, tuple(map(chunks, split)), tuple(map(np.asarray, shared)))
    return np.asarray(found).reshape(cores * size, *found.shape[2:])[:items]


@functools.partial(jax.jit, static_argnums=0)
def _on_all(kernel: Callable[..., Array], split: tuple[Array, ...], shared: Any) -> Array:
    axes = (0,) * len(split) + (None,) * len(shared)
    return jax.vmap(kernel, in_axes=axes)(*split, *shared)


def product(
    work: Product, tile: TileSizes, a: Float[Array, "n k"], b: Float[Array, "k m"], cores: int
) -> Float[Array, "n m"]:
    """C = A B of an FP32 pass, on tiles (n, k, m, order)."""
    nt, kt, mt, order = tile
    a, b = _plain(a, b)
    out = np.zeros((work.n, work.m), np.float32)

    def dot(rows: Array, columns: Array) -> Array:
        return jnp.dot(rows, columns, precision=HIGHEST)

    for i, j in walk(work.n, nt, work.m, mt, order):
        total = np.zeros((min(nt, work.n - i), min(mt, work.m - j)), np.float32)
        for k in range(0, work.k, kt):
            part = b[k : k + kt, j : j + mt]
            total = total + over_cores(dot, (a[i : i + nt, k : k + kt],), (part,), cores)
        out[i : i + nt, j : j + mt] = total
    return jnp.asarray(out)


def integer_pointwise(
    work: Product,
    tile: TileSizes,
    weight: Int8[Array, "n k"],
    x: UInt8[Array, "m k"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: int,
    bits: int,
    cores: int,
) -> UInt8[Array, "m n"]:
    """Requantized W X of an integer pointwise layer; pixels are split over the cores."""
    nt, _, mt, order = tile
    weight, x, kappa, lam = _plain(weight, x, kappa, lam)
    out = np.zeros((work.m, work.n), np.uint8)

    def kernel(pixels: Array, rows: Array, scale: Array, offset: Array) -> Array:
        acc = jax.lax.dot_general(
            pixels.astype(jnp.int32),
            rows.astype(jnp.int32),
            (((1,), (1,)), ((), ())),
            preferred_element_type=jnp.int32,
        )
        return fixedpoint.requantize(acc, scale[None], offset[None], shift, bits)

    for i, j in walk(work.n, nt, work.m, mt, order):
        rows = slice(i, i + nt)
        shared = (weight[rows], kappa[rows], lam[rows])
        out[j : j + mt, rows] = over_cores(kernel, (x[j : j + mt],), shared, cores)
    return jnp.asarray(out)


def integer_conv(
    tile: TileSizes,
    x: UInt8[Array, "hin win c"],
    weight: Int8[Array, "n taps"],
    kappa: Int32[Array, " n"],
    lam: Int32[Array, " n"],
    shift: int,
    bits: int,
    cores: int,
) -> UInt8[Array, "h w n"]:
    """First 3x3 convolution, stride 2, padded HWC input; output rows are split over the cores."""
    rows, columns = (x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1
    (x,) = _plain(x)
    out = []

    def kernel(patches: Array, w: Array, scale: Array, offset: Array) -> Array:
        acc = jax.lax.dot_general(
            patches.astype(jnp.int32),
            w.astype(jnp.int32),
            (((2,), (1,)), ((), ())),
            preferred_element_type=jnp.int32,
        )
        return fixedpoint.requantize(acc, scale[None, None], offset[None, None], shift, bits)

    for top in range(0, rows, tile[1]):
        high = min(tile[1], rows - top)
        views = [
            x[2 * top + i : 2 * (top + high - 1) + i + 1 : 2, j : 2 * columns - 1 + j : 2]
            for i in range(3)
            for j in range(3)
        ]
        patches = np.concatenate(views, axis=-1)
        out.append(over_cores(kernel, (patches,), (weight, kappa, lam), cores))
    return jnp.asarray(np.concatenate(out))


def depthwise(
    tile: TileSizes,
    x: Array,
    weight: Array,
    stride: int,
    cores: int,
    after: Callable[[Array, Array], Array] | None = None,
) -> Array:
    """3x3 depthwise forward on tiles (channels, output rows); also its stride-1 input gradient.

    Args:
        tile: Channels and output rows.
        x: [channels, height, width], padded; float32, or integers of any kind.
        weight: [channels, 3, 3].
        stride: 1 or 2.
        cores: Workers, over channels.
        after: (sums of some channels, indices of those channels) -> output, such as requantization.
    """
    channels, height, width = x.shape
    rows, columns = (height - 3) // stride + 1, (width - 3) // stride + 1
    wide = jnp.float32 if x.dtype == jnp.float32 else jnp.int32
    x, weight = _plain(x, weight)
    out: list[list[np.ndarray]] = []

    def kernel(planes: Array, taps: Array, index: Array) -> Array:
        total = _taps(planes.astype(wide), taps.astype(wide), stride)
        return total if after is None else after(total, index)

    for c in range(0, channels, tile[0]):
        row = []
        for top in range(0, rows, tile[1]):
            high = min(tile[1], rows - top)
            planes = x[c : c + tile[0], top * stride : (top + high - 1) * stride + 3]
            index = np.arange(c, min(c + tile[0], channels))
            row.append(over_cores(kernel, (planes, weight[c : c + tile[0]], index), (), cores))
        out.append(row)
    result = np.concatenate([np.concatenate(row, axis=1) for row in out])
    assert result.shape == (channels, rows, columns)
    return jnp.asarray(result)


def depthwise_weight_gradient(
    tile: TileSizes,
    x: Float[Array, "c hin win"],
    dy: Float[Array, "c h w"],
    stride: int,
    cores: int,
) -> Float[Array, "c 3 3"]:
    """Weight gradient of a 3x3 depthwise layer; adds up over tiles of rows."""
    channels, rows, _ = dy.shape
    x, dy = _plain(x, dy)
    out = np.zeros((channels, 3, 3), np.float32)

    def kernel(planes: Array, gradient: Array) -> Array:
        high, wide = gradient.shape[1:]
        sums = [
            (_window(planes, i, j, high, wide, stride) * gradient).sum((1, 2))
            for i in range(3)
            for j in range(3)
        ]
        return jnp.stack(sums, axis=-1).reshape(-1, 3, 3)

    for c in range(0, channels, tile[0]):
        for top in range(0, rows, tile[1]):
            high = min(tile[1], rows - top)
            planes = x[c : c + tile[0], top * stride : (top + high - 1) * stride + 3]
            part = over_cores(kernel, (planes, dy[c : c + tile[0], top : top + high]), (), cores)
            out[c : c + tile[0]] += part
    return jnp.asarray(out)


def depthwise_input_gradient_stride2(
    tile: TileSizes, dy: Float[Array, "c h1 w1"], weight: Float[Array, "c 3 3"], cores: int
) -> Float[Array, "c h2 w2"]:
    """Input gradient of a stride-2, pad-1 depthwise layer: each dY window gives a 2x2 block.

    `dy` has one more row and column, of zeros.
    """
    channels, rows = dy.shape[0], dy.shape[1] - 1
    dy, weight = _plain(dy, weight)
    out: list[np.ndarray] = []

    def kernel(planes: Array, w: Array) -> Array:
        a, b = planes[:, :-1, :-1], planes[:, :-1, 1:]
        c, d = planes[:, 1:, :-1], planes[:, 1:, 1:]
        t = w[:, :, :, None, None]
        even_even = a * t[:, 1, 1]
        even_odd = a * t[:, 1, 2] + b * t[:, 1, 0]
        odd_even = a * t[:, 2, 1] + c * t[:, 0, 1]
        odd_odd = a * t[:, 2, 2] + b * t[:, 2, 0] + c * t[:, 0, 2] + d * t[:, 0, 0]
        top, low = jnp.stack([even_even, even_odd], -1), jnp.stack([odd_even, odd_odd], -1)
        both = jnp.stack([top, low], 2)
        return both.reshape(planes.shape[0], 2 * a.shape[1], 2 * a.shape[2])

    for c in range(0, channels, tile[0]):
        blocks = []
        for top in range(0, rows, tile[1]):
            planes = dy[c : c + tile[0], top : min(top + tile[1], rows) + 1]
            blocks.append(over_cores(kernel, (planes, weight[c : c + tile[0]]), (), cores))
        out.append(np.concatenate(blocks, axis=1))
    return jnp.asarray(np.concatenate(out))


def linear(
    tile: TileSizes, weight: Float[Array, "n k"], x: Float[Array, "samples k"], cores: int
) -> Float[Array, "samples n"]:
    """Forward of the linear layer on tiles of rows; with W transposed, its input gradient."""

    def kernel(rows: Array, vectors: Array) -> Array:
        return jnp.dot(rows, vectors.T, precision=HIGHEST)

    parts = [
        over_cores(kernel, (weight[i : i + tile[0]],), (x,), cores)
        for i in range(0, weight.shape[0], tile[0])
    ]
    return jnp.asarray(np.concatenate(parts).T)


def linear_weight_gradient(
    tile: TileSizes, dy: Float[Array, "samples n"], x: Float[Array, "samples k"], cores: int
) -> Float[Array, "n k"]:
    """Weight gradient of the linear layer, sample by sample, on tiles of rows."""

    def kernel(gradients: Array, vector: Array) -> Array:
        return gradients[:, None] * vector[None]

    rows = []
    dy, x = _plain(dy, x)
    for i in range(0, dy.shape[1], tile[0]):
        total = np.zeros((min(tile[0], dy.shape[1] - i), x.shape[1]), np.float32)
        for gradient, vector in zip(dy, x, strict=True):
            total = total + over_cores(kernel, (gradient[i : i + tile[0]],), (vector,), cores)
        rows.append(total)
    return jnp.asarray(np.concatenate(rows))


def walk(n: int, nt: int, m: int, mt: int, order: int) -> list[tuple[int, int]]:
    """Starts of the tiles of C in the order of the walk."""
    rows, columns = range(0, n, nt), range(0, m, mt)
    if order == 0:
        return [(i, j) for i in rows for j in columns]
    return [(i, j) for j in columns for i in rows]


def _plain(*arrays: Any) -> tuple[Any, ...]:
    """NumPy arrays: tiles are cut out on the host, only kernels run in JAX."""
    return tuple(map(np.asarray, arrays))


def _window(planes: Array, i: int, j: int, high: int, wide: int, stride: int) -> Array:
    return planes[
        :, i : i + (high - 1) * stride + 1 : stride, j : j + (wide - 1) * stride + 1 : stride
    ]


def _taps(planes: Array, taps: Array, stride: int) -> Array:
    high, wide = ((size - 3) // stride + 1 for size in planes.shape[1:])
    total = jnp.zeros((planes.shape[0], high, wide), planes.dtype)
    for i in range(3):
        for j in range(3):
            part = _window(planes, i, j, high, wide, stride)
            total = total + part * taps[:, i, j, None, None]
    return total
