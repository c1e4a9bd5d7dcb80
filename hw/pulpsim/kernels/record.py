"""One core's share of a tile, and all shares of a tile with `vmap`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pulpsim.cluster import l1
from pulpsim.cluster.l1 import Tile

Shape = tuple[int, ...]
F32, U8, S8, S32 = np.float32, np.uint8, np.int8, np.int32


@dataclasses.dataclass(frozen=True)
class Operand:
    """One buffer of a kernel.

    Attributes:
        word: Argument word that points to it.
        dtype: Of its elements.
        shape: Tile -> sizes.
        axis: Axis that is split over the cores, None where every core reads all of it.
    """

    word: int
    dtype: type
    shape: Callable[[Tile], Shape]
    axis: int | None = 0


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Values of one kernel.

    Attributes:
        name: Also of its program and of its rows in the RTL table.
        inputs: Buffers that it reads.
        outputs: Buffers that it writes.
        share: (inputs..., scalars) -> outputs of one core's share; split axes come first.
        scalars: Argument words passed as values: word -> dtype.
        measured: Whether the RTL table has rows.
    """

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    share: Callable[..., tuple[jax.Array, ...]]
    scalars: Mapping[int, type] = dataclasses.field(default_factory=dict)
    measured: bool = True


def values(
    kernel: Kernel, tile: Tile, buffers: Mapping[int, Any], cores: int
) -> dict[int, jax.Array]:
    """Computes a tile on several cores, each its own share.

    Args:
        kernel: What to compute.
        tile: Sizes, from `pulpsim.kernels.shape.tile`.
        buffers: Argument word -> array of every input.
        cores: Cores that take part; shares are those of the programs, empty ones included.

    Returns:
        Argument word -> array of every output.

    Raises:
        ValueError: An input is missing or has another shape or type.
    """
    start, stop = l1.share(tile.items, tile.granularity, cores, 0)
    block = stop - start
    arrays, axes = [], []
    for operand in kernel.inputs:
        array = _checked(kernel, operand, tile, buffers)
        axes.append(None if operand.axis is None else 0)
        arrays.append(array if operand.axis is None else _cut(array, operand, tile, block, cores))
    scalars = [
        jnp.asarray(np.uint32(tile.scalars[word]).view(dtype))
        for word, dtype in kernel.scalars.items()
    ]
    found = jax.vmap(kernel.share, (*axes, *[None] * len(scalars)))(*arrays, *scalars)
    return {
        operand.word: _joined(array, operand, tile)
        for operand, array in zip(kernel.outputs, found, strict=True)
    }


def _checked(kernel: Kernel, operand: Operand, tile: Tile, buffers: Mapping[int, Any]) -> jax.Array:
    shape = operand.shape(tile)
    given = buffers.get(operand.word)
    if given is None or given.shape != shape or given.dtype != operand.dtype:
        have = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
        raise ValueError(
            f"argument word {operand.word} of {kernel.name} must be"
            f" {np.dtype(operand.dtype)}{list(shape)}, not {have}"
        )
    return jnp.asarray(given)


def _cut(array: jax.Array, operand: Operand, tile: Tile, block: int, cores: int) -> jax.Array:
    """[cores, share, ...], the last shares filled up with zeros."""
    array = jnp.moveaxis(array, operand.axis or 0, 0)
    size = block * array.shape[0] // tile.items  # several elements of an axis may be one item
    padding = [(0, cores * size - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(cores, size, *array.shape[1:])


def _joined(array: jax.Array, operand: Operand, tile: Tile) -> jax.Array:
    shape = operand.shape(tile)
    whole = array.reshape(-1, *array.shape[2:])[: shape[operand.axis or 0]]
    return jnp.moveaxis(whole, 0, operand.axis or 0)
