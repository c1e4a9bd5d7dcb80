"""Centered features: where the center goes, and that the head learns as without what is common."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples
from support.small_learner import BASE, cut_and_parameters, event_of, learn, learns

from qlrjax.training import adaptive, center, learner, replay
from qlrjax.training.protocol import Protocol

COUNT, CLASSES = 7, 4
shares = st.floats(0, 1, width=32)


@settings(max_examples=examples.at_least(20), deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**31), shares)
def test_moves_a_share_of_the_way(features, seed, share):
    """Towards the mean of those that are there, NumPy's in float64."""
    random = np.random.default_rng(seed)
    before, seen = random.normal(size=features), random.normal(3, 2, (COUNT, features))
    there = random.random(COUNT) < 0.6
    there[seed % COUNT] = True
    for mask in (None, there):
        moved = center.follow(
            jnp.asarray(before, jnp.float32),
            jnp.asarray(seen, jnp.float32),
            None if mask is None else jnp.asarray(mask),
            jnp.asarray(share, jnp.float32),
        )
        mean = (seen if mask is None else seen[mask]).mean(axis=0)
        np.testing.assert_allclose(moved, before + share * (mean - before), rtol=1e-4, atol=1e-5)


def test_nothing_is_kept_where_features_stay():
    assert center.start(5, 0.0) is None
    assert center.follow(None, jnp.ones((2, 5)), None, jnp.asarray(0.5)) is None
    params = {"head": jnp.ones((5, 2))}
    assert center.under(params, None) is params
    off = dataclasses.replace(BASE, center_momentum=0.0)
    state, _ = learn(off, events=1)
    assert state.training.center is None
    assert "center" not in learner.predicting(learns(off), state)


def test_the_first_mini_batch_gives_the_center_and_others_move_it():
    """One mini-batch of all: its mean, under the statistics that it is learned with, is known."""
    frozen = dataclasses.replace(
        BASE, minibatch=12, first_epochs=1, normalization="running", train_layers=False
    )
    state, _ = learn(frozen, slots=0, events=1)
    cut, parameters = cut_and_parameters()
    params, statistics = adaptive.init(cut, parameters)
    codes, _ = event_of(np.random.default_rng(0), 12)
    values = replay.decode_codes(jnp.asarray(codes), 3.0, 0.0)
    seen, _ = adaptive.features(cut, params, statistics, values)
    np.testing.assert_allclose(state.training.center, seen.mean(axis=0), rtol=1e-5, atol=1e-6)
    again, _ = learn(dataclasses.replace(frozen, first_epochs=9), slots=0, events=1)
    np.testing.assert_allclose(again.training.center, state.training.center, rtol=1e-5, atol=1e-6)
    other, _ = learn(frozen, slots=0, events=2)
    assert not np.allclose(other.training.center, state.training.center, rtol=1e-4)


def test_what_all_features_share_changes_nothing():
    """The gradient of the head is that of features without a common part."""
    cut, _ = cut_and_parameters()
    random = np.random.default_rng(1)
    seen = random.normal(size=(COUNT, cut.features)).astype(np.float32)
    shift = random.normal(size=cut.features).astype(np.float32)
    head = jnp.asarray(random.normal(size=(cut.features, CLASSES)), jnp.float32)

    def gradient(values, middle):
        def loss(params):
            logits = adaptive.score(center.under(params, jnp.asarray(middle)), values)
            labels = jnp.arange(COUNT, dtype=jnp.int32) % CLASSES
            return adaptive.cross_entropy(logits, labels, jnp.ones(COUNT, bool))

        return jax.grad(loss)({"head": head})["head"]

    plain = gradient(jnp.asarray(seen), seen.mean(axis=0))
    moved = gradient(jnp.asarray(seen + shift), (seen + shift).mean(axis=0))
    np.testing.assert_allclose(plain, moved, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(ValueError, match=r"center_momentum is .* between 0 and 1"):
        Protocol(center_momentum=share)
