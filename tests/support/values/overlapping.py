"""Inputs of which shares read parts together: as a program reads them, and share by share."""

import jax.numpy as jnp
import numpy as np
from pulpsim.kernels.shape import Tile
from support.values import graphs, integer, products


def _codes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, shape).astype(np.uint8)


def _image(rng: np.random.Generator, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    image = _codes(rng, (tile.sizes.hin, tile.sizes.win, 3))
    return image, np.asarray(integer.input_rows(jnp.asarray(image)))


def _float_rows(rng: np.random.Generator, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    rows = rng.normal(0, 2, (3, tile.scalars["row"] // 3, 3)).astype(np.float32)
    return rows, np.asarray(products.input_patches(jnp.asarray(rows)))


def _code_rows(rng: np.random.Generator, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    size = tile.sizes
    rows = _codes(rng, (size.rows, size.row))
    return rows, np.asarray(graphs.rows_of(jnp.asarray(rows), size.pixels, size.words, size.step))


def _windows(rng: np.random.Generator, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    size = tile.sizes
    rows = _codes(rng, (size.rows, size.width, size.channels))
    return rows, np.asarray(graphs.windows_of(jnp.asarray(rows), size.columns, size.stride))


# What a program reads, and the same with every share's own part apart.
OVERLAPPING = {
    "i3_conv": _image,
    "i3w_conv": _image,
    "c0_im2col": _float_rows,
    "i6_im2row": _code_rows,
    "i8_max": _windows,
}
