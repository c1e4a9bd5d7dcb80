"""CWR* against a loop over classes."""

import jax.numpy as jnp
import numpy as np
import pytest
from support import learner_oracle

from qlrjax.training.strategies import cwr


def test_consolidation_over_many_events_is_the_loop():
    random = np.random.default_rng(0)
    classes, features = 6, 5
    ours = cwr.init(features, classes)
    saved, past = np.zeros((features, classes)), np.zeros(classes)
    for event in range(12):
        counts = random.integers(0, 40, classes) * (random.random(classes) < 0.6)
        counts[event % classes] = 1 + event  # at least one class
        trained = random.normal(0.3, 1, (features, classes)).astype(np.float32)
        ours = cwr.consolidate(ours, jnp.asarray(trained), jnp.asarray(counts, jnp.int32))
        saved, past = learner_oracle.consolidate(saved, past, trained, counts)
        np.testing.assert_allclose(ours.weight, saved, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(ours.past, past)


def test_a_new_class_takes_its_centred_weights():
    trained = jnp.asarray([[1.0, 2.0, 50.0], [3.0, 6.0, 50.0]])
    after = cwr.consolidate(cwr.init(2, 3), trained, jnp.asarray([4, 4, 0], jnp.int32))
    np.testing.assert_allclose(after.weight, [[-2, -1, 0], [0, 3, 0]])  # mean of four is 3
    np.testing.assert_array_equal(after.past, [4, 4, 0])


def test_a_class_seen_four_times_as_often_weighs_twice():
    """p = sqrt(past / current) = 2: (2 * old + new) / 3."""
    before = cwr.Head(jnp.asarray([[3.0]]), jnp.asarray([40.0]))
    after = cwr.consolidate(before, jnp.asarray([[9.0]]), jnp.asarray([10], jnp.int32))
    np.testing.assert_allclose(after.weight, [[2.0]])  # one class: its centred weight is 0
    np.testing.assert_array_equal(after.past, [50])


def test_absent_classes_are_kept_and_not_loaded():
    before = cwr.Head(jnp.asarray([[1.0, 2.0]]), jnp.asarray([5.0, 5.0]))
    np.testing.assert_array_equal(cwr.load(before, jnp.asarray([True, False])), [[1.0, 0.0]])
    after = cwr.consolidate(before, jnp.asarray([[7.0, 9.0]]), jnp.asarray([0, 0], jnp.int32))
    np.testing.assert_array_equal(after.weight, before.weight)
    np.testing.assert_array_equal(after.past, before.past)
    assert np.isfinite(after.weight).all()


@pytest.mark.parametrize("current", [1, 10**6])
def test_extreme_counts_stay_finite(current):
    before = cwr.Head(jnp.asarray([[1.0, 2.0]]), jnp.asarray([1e9, 0.0]))
    counts = jnp.asarray([current, current], jnp.int32)
    after = cwr.consolidate(before, jnp.asarray([[3.0, 4.0]]), counts)
    assert np.isfinite(after.weight).all()


def published_list(saved, past, trained, new_labels, memory_labels, first):
    """`consolidate_weights` of ar1-pytorch, step by step, through its list of current classes.

    The list of the first event is made of a set of NumPy integers. Those of later events are made
    of a set that also holds tensors, one for every stored latent: Python merges none of them.
    """
    classes = saved.shape[1]
    current = sorted(set(new_labels))
    if not first:
        current += list(memory_labels)
        np.random.default_rng(len(memory_labels)).shuffle(current)  # a set has no order
    counts = np.bincount([*new_labels, *([] if first else memory_labels)], minlength=classes)
    mean = np.average(trained.T[current])
    known = {label for label in range(classes) if past[label] > 0}
    for label in current:
        own = trained[:, label] - mean
        if label in known:
            weight = np.sqrt(past[label] / counts[label])
            saved[:, label] = (saved[:, label] * weight + own) / (weight + 1)
        else:
            saved[:, label] = own
            known.add(label)
    past += counts


def test_the_published_rule_is_the_loop_over_a_list_with_duplicates():
    random = np.random.default_rng(3)
    classes, features, slots = 7, 5, 20
    ours = cwr.init(features, classes)
    saved, past = np.zeros((features, classes)), np.zeros(classes)
    memory = np.zeros(0, int)
    for event in range(9):
        new = random.choice(min(3 + event, classes), 8)
        trained = random.normal(0.3, 1, (features, classes)).astype(np.float32)
        replayed = np.bincount(memory, minlength=classes)
        counts = np.bincount(new, minlength=classes) + replayed
        entries = (np.bincount(new, minlength=classes) > 0) + replayed
        ours = cwr.consolidate_entries(
            ours,
            jnp.asarray(trained),
            jnp.asarray(counts, jnp.int32),
            jnp.asarray(entries, jnp.int32),
        )
        published_list(saved, past, trained.astype(np.float64), new, memory, first=event == 0)
        np.testing.assert_allclose(ours.weight, saved, rtol=2e-5, atol=1e-6)
        np.testing.assert_array_equal(ours.past, past)
        memory = np.concatenate([memory, new])[-slots:]
    # With as many duplicates the old weights are gone nearly altogether, and the rules differ.
    once = cwr.consolidate(ours, jnp.asarray(trained), jnp.asarray(counts, jnp.int32))
    often = cwr.consolidate_entries(
        ours, jnp.asarray(trained), jnp.asarray(counts, jnp.int32), jnp.asarray(entries, jnp.int32)
    )
    assert np.abs(np.asarray(once.weight) - np.asarray(often.weight)).max() > 0.1
