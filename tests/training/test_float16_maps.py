"""Maps kept in float16: what is rounded, in which direction, and what is not."""

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax.training import maps


def values(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_outputs_are_rounded_forward_and_gradients_backward():
    z = values(3, 2, 5, 7)
    kept = maps.stored(jnp.asarray(z), "float16")
    np.testing.assert_array_equal(np.asarray(kept), z.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(maps.returned(jnp.asarray(z), "float16")), z)
    slope = values(3, 2, 5, 7) * 1e-6  # beneath float16's normal numbers as it is

    def total(change, y):
        return (change(y, "float16") * slope).sum()

    through = jax.grad(lambda y: total(maps.stored, y))(jnp.asarray(z))
    np.testing.assert_array_equal(np.asarray(through), slope)
    back = jax.grad(lambda y: total(maps.returned, y))(jnp.asarray(z))
    expected = (slope * np.float32(1024)).astype(np.float16).astype(np.float32) / np.float32(1024)
    np.testing.assert_array_equal(np.asarray(back), expected)
    np.testing.assert_allclose(np.asarray(back), slope, rtol=1e-3, atol=1e-10)


def test_float32_changes_no_bit():
    z = jnp.asarray(values(1, 2, 3, 4))
    assert maps.stored(z, "float32") is z
    assert maps.returned(z, "float32") is z
