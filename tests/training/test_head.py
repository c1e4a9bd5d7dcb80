"""CWR* against a loop over classes."""

import jax.numpy as jnp
import numpy as np
import pytest
from support import learner_oracle

from qlrjax.training import head


def test_consolidation_over_many_events_is_the_loop():
    random = np.random.default_rng(0)
    classes, features = 6, 5
    ours = head.init(features, classes)
    saved, past = np.zeros((features, classes)), np.zeros(classes)
    for event in range(12):
        counts = random.integers(0, 40, classes) * (random.random(classes) < 0.6)
        counts[event % classes] = 1 + event  # at least one class
        trained = random.normal(0.3, 1, (features, classes)).astype(np.float32)
        ours = head.consolidate(ours, jnp.asarray(trained), jnp.asarray(counts, jnp.int32))
        saved, past = learner_oracle.consolidate(saved, past, trained, counts)
        np.testing.assert_allclose(ours.weight, saved, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(ours.past, past)


def test_a_new_class_takes_its_centred_weights():
    trained = jnp.asarray([[1.0, 2.0, 50.0], [3.0, 6.0, 50.0]])
    after = head.consolidate(head.init(2, 3), trained, jnp.asarray([4, 4, 0], jnp.int32))
    np.testing.assert_allclose(after.weight, [[-2, -1, 0], [0, 3, 0]])  # mean of four is 3
    np.testing.assert_array_equal(after.past, [4, 4, 0])


def test_a_class_seen_four_times_as_often_weighs_twice():
    """p = sqrt(past / current) = 2: (2 * old + new) / 3."""
    before = head.Head(jnp.asarray([[3.0]]), jnp.asarray([40.0]))
    after = head.consolidate(before, jnp.asarray([[9.0]]), jnp.asarray([10], jnp.int32))
    np.testing.assert_allclose(after.weight, [[2.0]])  # one class: its centred weight is 0
    np.testing.assert_array_equal(after.past, [50])


def test_absent_classes_are_kept_and_not_loaded():
    before = head.Head(jnp.asarray([[1.0, 2.0]]), jnp.asarray([5.0, 5.0]))
    np.testing.assert_array_equal(head.load(before, jnp.asarray([True, False])), [[1.0, 0.0]])
    after = head.consolidate(before, jnp.asarray([[7.0, 9.0]]), jnp.asarray([0, 0], jnp.int32))
    np.testing.assert_array_equal(after.weight, before.weight)
    np.testing.assert_array_equal(after.past, before.past)
    assert np.isfinite(after.weight).all()


@pytest.mark.parametrize("current", [1, 10**6])
def test_extreme_counts_stay_finite(current):
    before = head.Head(jnp.asarray([[1.0, 2.0]]), jnp.asarray([1e9, 0.0]))
    counts = jnp.asarray([current, current], jnp.int32)
    after = head.consolidate(before, jnp.asarray([[3.0, 4.0]]), counts)
    assert np.isfinite(after.weight).all()
