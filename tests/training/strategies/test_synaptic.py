"""Synaptic Intelligence against NumPy, along a path of several steps and two events."""

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax.training.strategies import synaptic

DAMPING, CLIP = 1e-7, 1e-3


def tree(random, scale=1.0):
    return {
        "a": {"weight": random.normal(0, scale, (2, 3)).astype(np.float32)},
        "b": {"gamma": random.normal(0, scale, 4).astype(np.float32)},
    }


def as_jax(values):
    return jax.tree.map(jnp.asarray, values)


def test_two_events_along_a_path():
    random = np.random.default_rng(0)
    layers = tree(random)
    ours = synaptic.init(as_jax(layers))
    importance = jax.tree.map(np.zeros_like, layers)
    for _ in range(2):
        reference = jax.tree.map(np.copy, layers)
        path = jax.tree.map(lambda x: np.zeros(x.shape), layers)
        for _ in range(3):
            gradients, step = tree(random), tree(random, 0.1)
            moved = jax.tree.map(np.add, layers, step)
            ours = synaptic.follow(ours, as_jax(gradients), as_jax(layers), as_jax(moved))
            path = jax.tree.map(lambda w, g, s: w - g.astype(np.float64) * s, path, gradients, step)
            layers = moved
        importance = jax.tree.map(
            lambda f, w, old, new: np.clip(f + w / ((new - old) ** 2 + DAMPING), 0, CLIP),
            importance,
            path,
            reference,
            layers,
        )
        for mine, other in zip(jax.tree.leaves(ours.path), jax.tree.leaves(path), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
        ours = synaptic.consolidate(ours, as_jax(layers), synaptic.Rule())
        for mine, other in zip(
            jax.tree.leaves(ours.importance), jax.tree.leaves(importance), strict=True
        ):
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-7)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(ours.path))


def test_penalty_and_its_gradient():
    random = np.random.default_rng(1)
    old, new, importance = tree(random), tree(random), jax.tree.map(np.abs, tree(random))
    state = synaptic.Synapses(as_jax(importance), as_jax(old), as_jax(old))
    terms = jax.tree.map(lambda f, a, b: (f * (b - a) ** 2).sum(), importance, old, new)
    expected = 0.5 * sum(jax.tree.leaves(terms))
    value, gradient = jax.value_and_grad(lambda x: synaptic.penalty(state, x, synaptic.Rule()))(
        as_jax(new)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    pull = jax.tree.map(lambda f, a, b: f * (b - a), importance, old, new)
    for mine, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(pull), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5)


def test_no_trained_layers_pay_nothing():
    assert float(synaptic.penalty(synaptic.init({}), {}, synaptic.Rule())) == 0.0


def test_the_published_rule_clips_a_copy_and_from_above_only():
    """ar1-pytorch sums for good, clips a copy to at most 1e-3, and leaves batch norm out."""
    random = np.random.default_rng(2)
    layers = {"a": {"weight": random.normal(0, 1, 9), "gamma": random.normal(0, 1, 3)}}
    layers = jax.tree.map(np.float32, layers)
    ours = synaptic.init(as_jax(layers))
    total = np.zeros(9)
    for _ in range(3):
        start, path = layers["a"]["weight"].astype(float), np.zeros(9)
        for _ in range(2):
            gradients = jax.tree.map(lambda x: random.normal(0, 1e-4, x.shape), layers)
            gradients = jax.tree.map(np.float32, gradients)
            moved = jax.tree.map(
                lambda x: x + random.normal(0, 0.1, x.shape).astype(np.float32), layers
            )
            ours = synaptic.follow(ours, as_jax(gradients), as_jax(layers), as_jax(moved))
            path += gradients["a"]["weight"] * (moved["a"]["weight"] - layers["a"]["weight"])
            layers = moved
        total += path / ((layers["a"]["weight"] - start) ** 2 + DAMPING)
        ours = synaptic.consolidate(ours, as_jax(layers), synaptic.PUBLISHED)
    np.testing.assert_allclose(ours.importance["a"]["weight"], -total, rtol=2e-3, atol=1e-5)
    held = np.minimum(-total, CLIP)
    assert held.min() < 0 < held.max() == CLIP
    moved = jax.tree.map(lambda x: x + np.float32(0.5), layers)
    off = moved["a"]["weight"].astype(float) - layers["a"]["weight"]
    value = synaptic.penalty(ours, as_jax(moved), synaptic.PUBLISHED)
    np.testing.assert_allclose(value, 0.5 * (held * off**2).sum(), rtol=2e-3)
