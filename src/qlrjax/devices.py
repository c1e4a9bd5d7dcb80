"""Several devices: a batch's images are shared among them, and everything else is on each.

A mesh has one axis over the images of a batch. Training is one program for all devices, which XLA's
partitioner splits. The frozen stage, whose images have nothing to do with each other, is a program
on each device; the partitioner of jaxlib 0.10 fails at its `lax.mulhi`. Nothing here changes a
program for one device, which has no mesh: then arrays pass as they are.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "images"

T = TypeVar("T")


def mesh(count: int) -> Mesh | None:
    """The first devices of JAX's default backend; None for one, which needs no mesh.

    Args:
        count: Of devices, at least 1.

    Raises:
        ValueError: There are fewer.
    """
    if count == 1:
        return None
    there = jax.devices()
    if count > len(there):
        raise ValueError(
            f"{count} devices are asked for and JAX has {len(there)} "
            f"({there[0].platform}); use --devices {len(there)}"
        )
    return Mesh(np.array(there[:count]), (AXIS,), axis_types=(AxisType.Auto,))


def count_of(among: Mesh | None) -> int:
    """Devices of a mesh; 1 without one."""
    return 1 if among is None else among.size


def missing(among: Mesh | None, images: int) -> int:
    """How many images more make a batch that the devices share evenly."""
    return -images % count_of(among)


def shared(among: Mesh | None, batch: np.ndarray) -> jax.Array:
    """A batch on the devices, its images shared evenly among them; see `missing`."""
    if among is None:
        return jnp.asarray(batch)
    return jax.device_put(batch, _sharding(among, AXIS))


def shares(among: Mesh, batch: np.ndarray) -> list[jax.Array]:
    """The same as an array for each device, see `copies`."""
    parts = np.split(batch, among.size)
    return [jax.device_put(part, own) for part, own in zip(parts, among.devices.flat, strict=True)]


def copies(among: Mesh, tree: T) -> list[T]:
    """A tree of arrays for each device, in the order of `shares`."""
    return [jax.device_put(tree, own) for own in among.devices.flat]


def on_each(among: Mesh | None, tree: T) -> T:
    """A tree of arrays, all of it on each device."""
    return tree if among is None else jax.device_put(tree, _sharding(among))


def keep_shared(among: Mesh | None, tree: T) -> T:
    """Inside a program: arrays whose first axis is the images, shared among the devices."""
    return tree if among is None else jax.lax.with_sharding_constraint(tree, _sharding(among, AXIS))


def keep_on_each(among: Mesh | None, tree: T) -> T:
    """Inside a program: arrays that each device has all of; sums over images end here."""
    return tree if among is None else jax.lax.with_sharding_constraint(tree, _sharding(among))


def _sharding(among: Mesh, *axes: str) -> NamedSharding:
    return NamedSharding(among, PartitionSpec(*axes))
