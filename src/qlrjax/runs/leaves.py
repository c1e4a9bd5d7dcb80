"""A pytree of arrays as named NumPy arrays and back, with what identifies each."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Leaf:
    """What identifies an array.

    Attributes:
        shape: Its shape.
        dtype: NumPy's name of its type.
        sha256: Of its bytes in C order, as hexadecimal digits; empty in a template.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str = ""

    @property
    def bytes(self) -> int:
        """Size of the array."""
        count = 1
        for side in self.shape:
            count *= side
        return count * np.dtype(self.dtype).itemsize


def describe(tree: Any) -> dict[str, Leaf]:
    """Shape and dtype of every leaf by its path, such as `learner/memory/labels`.

    Args:
        tree: Leaves are arrays or jax.ShapeDtypeStruct.

    Raises:
        TypeError: A leaf is not an array of numbers.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not isinstance(getattr(leaf, "dtype", None), np.dtype):
            raise TypeError(f"{name or 'the tree'} is not an array of numbers but {type(leaf)}")
        if name in named:
            raise TypeError(f"two leaves are called {name}")
        named[name] = Leaf(tuple(leaf.shape), leaf.dtype.name)
    return named


def to_host(tree: Any) -> dict[str, np.ndarray]:
    """Copies of all leaves by path; later donation of the leaves does not touch them.

    Raises:
        TypeError: See `describe`.
    """
    names = describe(tree)
    arrays = [np.array(leaf, order="C", copy=True) for leaf in jax.tree.leaves(tree)]
    return dict(zip(names, arrays, strict=True))


def from_host(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree with the template's structure and the given leaves, as jax arrays of their own."""
    leaves = [jnp.array(arrays[name], copy=True) for name in describe(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(flat.data).hexdigest()


def sign(arrays: Mapping[str, np.ndarray]) -> dict[str, Leaf]:
    """Shape, dtype and digest of every array."""
    return {
        name: Leaf(array.shape, array.dtype.name, digest(array)) for name, array in arrays.items()
    }


def static_fields(tree: Any, path: str = "") -> dict[str, Any]:
    """Fields of flax.struct dataclasses that are not leaves, such as a memory's bits, by path.

    A restored tree takes them from its template, so they have to be compared apart.
    """
    found: dict[str, Any] = {}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            value, name = getattr(tree, field.name), f"{path}{field.name}"
            if field.metadata.get("pytree_node", True):
                found |= static_fields(value, f"{name}/")
            elif value != field.default or not field.metadata.get("unsaid_by_default"):
                # Fields that came later say nothing at their default, as before they were there.
                found[name] = _plain(value)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            found |= static_fields(value, f"{path}{key}/")
    elif isinstance(tree, tuple | list):
        keys = getattr(tree, "_fields", range(len(tree)))
        for key, value in zip(keys, tree, strict=True):
            found |= static_fields(value, f"{path}{key}/")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | bool | int | float | None) else repr(value)
