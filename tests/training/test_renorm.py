"""Batch renorm and the gradient written out, in pure JAX and in C, against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import plain_renorm
from support.near import close, trees_close

from qlrjax.network import floating
from qlrjax.training import renorm


def limits_of(pair):
    return renorm.RenormLimits(*map(jnp.float32, pair))


@pytest.mark.parametrize("missing", [0, 1])
def test_batch_renorm_stops_the_gradient_of_r_and_d(passes, missing):
    """With r and d inside their limits, letting the gradient through would change it a lot."""
    random = np.random.default_rng(2)
    y = random.normal(0.3, 1.2, (4, 3, 5, 21))
    running = {"mean": np.full(21, 0.2), "std": np.full(21, 1.1)}
    weight = random.normal(0, 1, y.shape)
    weight[4 - missing :] = 0.0
    there = np.arange(4) < 4 - missing
    rule = renorm.Rule("none", 1e-3, native=passes.native)

    def reference(y, held=None):
        counted = y[there]
        mean = counted.mean(axis=(0, 1, 2))
        std = np.sqrt(((counted - mean) ** 2).mean(axis=(0, 1, 2)) + 1e-3)
        r, d = held or (std / running["std"], (mean - running["mean"]) / running["std"])
        return (weight * ((y - mean) / std * r + d)).sum(), (r, d)

    def ours(y):
        tree = {name: jnp.asarray(value, jnp.float32) for name, value in running.items()}
        affine = {"gamma": jnp.ones(21), "beta": jnp.zeros(21)}
        counted = jnp.asarray(there) if missing else None
        raw = renorm.Raw(rule, y, affine, tree, limits_of((3.0, 5.0)), counted)
        out, _ = renorm.normalised(raw)
        return jnp.sum(out * jnp.asarray(weight, jnp.float32))

    value, gradient = jax.value_and_grad(ours)(jnp.asarray(y, jnp.float32))
    expected, held = reference(y)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    direction, step = random.normal(0, 1, y.shape), 1e-6
    slope = {}
    for kind, constants in (("stopped", held), ("through", None)):
        ends = [reference(y + sign * step * direction, constants)[0] for sign in (1, -1)]
        slope[kind] = (ends[0] - ends[1]) / (2 * step)
    got = (np.asarray(gradient, np.float64) * direction).sum()
    assert abs(got - slope["stopped"]) < 1e-4 * np.abs(gradient * direction).sum()
    assert abs(got - slope["through"]) > 1e-3 * np.abs(gradient * direction).sum()


@pytest.mark.parametrize("activation", ["relu", "relu6", "none"])
@pytest.mark.parametrize("missing", [0, 2])
def test_renorm_and_its_gradient_equal_what_jax_derives(passes, activation, missing):
    """Whatever may be limited, absent, constant in a channel or at an activation's corner."""
    random = np.random.default_rng(7)
    y = random.normal(2.0, 3.0, (6, 5, 3, 19)).astype(np.float32)
    y[..., 4] = 1.5
    there = np.arange(6) < 6 - missing
    gradient = random.normal(0, 1, y.shape).astype(np.float32) * there[:, None, None, None]
    running = {"mean": jnp.full(19, 0.4), "std": jnp.linspace(0.5, 9.0, 19)}
    affine = {"gamma": jnp.linspace(-1.0, 2.0, 19), "beta": jnp.linspace(-0.5, 0.5, 19)}
    rule, limits = renorm.Rule(activation, 1e-3, native=passes.native), limits_of((1.5, 0.7))

    def plain(y, affine):
        batch = plain_renorm.batch_moments(y[there], 1e-3)
        z = plain_renorm.renormalise(y, batch, running, limits)
        z = z * affine["gamma"][None, None, None] + affine["beta"][None, None, None]
        return floating.activate(z, activation), batch

    def ours(y, affine):
        counted = jnp.asarray(there) if missing else None
        return renorm.normalised(renorm.Raw(rule, y, affine, running, limits, counted))

    found = []
    for way in (plain, ours):
        out, pull, batch = jax.vjp(way, jnp.asarray(y), affine, has_aux=True)
        found.append((out, batch, *pull(jnp.asarray(gradient))))
    (out, batch, of_y, of_affine), (wanted, moments, expected, rows) = found[1], found[0]
    close(out[there], wanted[there])
    trees_close(batch, moments)
    close(of_y[there], expected[there], 1e-4)
    trees_close(of_affine, rows, 1e-5)
