"""Whether arrays agree, relative to the norm of each."""

import jax
import numpy as np


def close(one, other, tolerance=1e-5):
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    norm = np.linalg.norm(other)
    assert one.shape == other.shape
    assert np.linalg.norm(one - other) <= tolerance * norm, np.linalg.norm(one - other) / norm


def trees_close(one, other, tolerance=1e-5):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        close(a, b, tolerance)
