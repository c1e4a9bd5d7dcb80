"""Values of a tile in JAX: one core's share, and all shares with `vmap`, keyed by argument name."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pulpsim.cluster import l1
from pulpsim.kernels.shape import Sizes, Tile

Shape = tuple[int, ...]
F32, U8, S8, S32 = np.float32, np.uint8, np.int8, np.int32


@dataclasses.dataclass(frozen=True)
class TileArray:
    """One buffer of a kernel.

    Attributes:
        name: Of the argument that points to it.
        dtype: Of its elements.
        shape: Sizes of the tile -> shape of the array.
        axis: Axis that is split over the cores, None where every core reads all of it.
    """

    name: str
    dtype: type
    shape: Callable[[Sizes], Shape]
    axis: int | None = 0


@dataclasses.dataclass(frozen=True)
class KernelValues:
    """Values of one kernel, in JAX.

    Attributes:
        name: Also of its program and of its rows in the RTL table.
        inputs: Buffers that it reads.
        outputs: Buffers that it writes.
        compute: (inputs..., scalars) -> outputs of one core's share; split axes come first.
        scalars: dtype of arguments passed as values, by name.
    """

    name: str
    inputs: tuple[TileArray, ...]
    outputs: tuple[TileArray, ...]
    compute: Callable[..., tuple[jax.Array, ...]]
    scalars: Mapping[str, type] = dataclasses.field(default_factory=dict)


def values(
    kernel: KernelValues, tile: Tile, given: Mapping[str, Any], cores: int
) -> dict[str, jax.Array]:
    """Computes a tile on several cores, each its own share.

    Args:
        kernel: What to compute.
        tile: Sizes, from `Kernel.tile`.
        given: Argument name -> array of every input.
        cores: Cores that take part; shares are those of the programs, empty ones included.

    Returns:
        Argument name -> array of every output.

    Raises:
        ValueError: An input is missing or has another shape or type.
    """
    start, stop = l1.share(tile.items, tile.granularity, cores, 0)
    block = stop - start
    arrays, axes = [], []
    for buffer in kernel.inputs:
        array = _checked(kernel, buffer, tile, given)
        axes.append(None if buffer.axis is None else 0)
        arrays.append(array if buffer.axis is None else _cut(array, buffer, tile, block, cores))
    scalars = [
        jnp.asarray(np.uint32(tile.scalars[name]).view(dtype))
        for name, dtype in kernel.scalars.items()
    ]
    found = jax.vmap(kernel.compute, (*axes, *[None] * len(scalars)))(*arrays, *scalars)
    return {
        buffer.name: _joined(array, buffer, tile)
        for buffer, array in zip(kernel.outputs, found, strict=True)
    }


def _checked(
    kernel: KernelValues, buffer: TileArray, tile: Tile, all_given: Mapping[str, Any]
) -> jax.Array:
    shape = buffer.shape(tile.sizes)
    given = all_given.get(buffer.name)
    if given is None or given.shape != shape or given.dtype != buffer.dtype:
        have = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
        raise ValueError(
            f"argument {buffer.name} of {kernel.name} must be"
            f" {np.dtype(buffer.dtype)}{list(shape)}, not {have}"
        )
    return jnp.asarray(given)


def _cut(array: jax.Array, buffer: TileArray, tile: Tile, block: int, cores: int) -> jax.Array:
    """[cores, share, ...], the last shares filled up with zeros."""
    array = jnp.moveaxis(array, buffer.axis or 0, 0)
    size = block * array.shape[0] // tile.items  # several elements of an axis may be one item
    padding = [(0, cores * size - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(cores, size, *array.shape[1:])


def _joined(array: jax.Array, buffer: TileArray, tile: Tile) -> jax.Array:
    shape = buffer.shape(tile.sizes)
    whole = array.reshape(-1, *array.shape[2:])[: shape[buffer.axis or 0]]
    return jnp.moveaxis(whole, 0, buffer.axis or 0)
