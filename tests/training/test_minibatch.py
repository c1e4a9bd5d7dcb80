"""Composition and plan beside `test_properties`: sizes of both rules, storage order, edges."""

import jax
import numpy as np
import pytest

from qlrjax.training import minibatch


# N, memory, new and replayed a mini-batch, mini-batches with and without the remainder.
@pytest.mark.parametrize(
    ("new", "slots", "share", "replayed", "whole", "all_of_them"),
    [
        (300, 1500, 21, 107, 14, 15),
        (300, 3000, 12, 116, 25, 25),
        (300, 500, 50, 78, 6, 6),
        (299, 3000, 11, 117, 27, 28),
        (3000, 1500, 85, 43, 35, 36),
        (40, 1500, 3, 125, 13, 14),
    ],
)
def test_sizes(new, slots, share, replayed, whole, all_of_them):
    for drop, count in ((True, whole), (False, all_of_them)):
        rule = minibatch.compose(new, slots, 128, drop_remainder=drop)
        assert (rule.new, rule.size - rule.new, rule.count) == (share, replayed, count)
        assert (rule.new, rule.size) == (new // ((new + slots) // 128), 128)


@pytest.mark.parametrize(("new", "count"), [(2999, 24), (3000, 24), (3072, 24), (3073, 25)])
@pytest.mark.parametrize("drop", [True, False])
def test_the_first_event_is_padded_and_not_cut(new, count, drop):
    rule = minibatch.compose(new, 0, 128, drop_remainder=drop)
    assert (rule.size, rule.new, rule.count) == (128, 128, count)
    plan = minibatch.plan(jax.random.key(0), rule, new, new, 0, 1, reshuffle=False)
    assert np.unique(plan).size == new
    assert plan.size - new == -new % 128


def test_fewer_latents_than_a_minibatch():
    rule = minibatch.compose(5, 0, 128, drop_remainder=True)
    assert (rule.size, rule.new, rule.count) == (5, 5, 1)
    # With replays the mini-batch stays whole: 5 new ones and 123 slots, cyclically.
    rule = minibatch.compose(5, 20, 128, drop_remainder=True)
    plan = minibatch.plan(jax.random.key(0), rule, 5, 9, 20, 1, reshuffle=False)
    assert plan.shape == (1, 128)
    assert sorted(plan[0, :5]) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(plan[0, 5:], 9 + np.arange(123) % 20)


def test_one_new_latent_among_many_replays():
    rule = minibatch.compose(1, 3000, 128, drop_remainder=True)
    assert (rule.size, rule.new, rule.count) == (128, 1, 1)


@pytest.mark.parametrize("drop", [True, False])
def test_replays_are_read_in_storage_order_the_same_every_epoch(drop):
    new, slots, rows = 300, 1500, 311
    rule = minibatch.compose(new, slots, 128, drop_remainder=drop)
    plan = minibatch.plan(jax.random.key(1), rule, new, rows, slots, 4, reshuffle=True)
    epochs = plan.reshape(4, rule.count, 128)
    for epoch in epochs:
        replays = [row for batch in epoch for row in batch if row >= rows]
        expected = rows + np.arange(len(replays)) % slots
        np.testing.assert_array_equal(replays, expected)
        for batch in epoch:  # new ones first
            is_new = batch < new
            assert not (is_new[1:] & ~is_new[:-1]).any()
    assert (epochs[0] != epochs[1]).any()  # reshuffled


def test_where_ar1_pytorch_runs_short_of_replays_slots_are_read_again():
    """299 new and 3000 replays: 27 mini-batches of 117 need 3159; its last ones are short."""
    rule = minibatch.compose(299, 3000, 128, drop_remainder=True)
    plan = minibatch.plan(jax.random.key(1), rule, 299, 299, 3000, 1, reshuffle=False)
    counts = np.bincount(plan[plan >= 299] - 299, minlength=3000)
    np.testing.assert_array_equal(counts, np.where(np.arange(3000) < 27 * 117 - 3000, 2, 1))


def test_the_order_depends_on_the_key_alone():
    rule = minibatch.compose(23, 30, 8, drop_remainder=False)
    plans = [
        minibatch.plan(jax.random.key(seed), rule, 23, 25, 30, 2, reshuffle=True)
        for seed in (4, 4, 5)
    ]
    np.testing.assert_array_equal(plans[0], plans[1])
    assert (plans[0] != plans[2]).any()


@pytest.mark.parametrize(("new", "replays", "size"), [(0, 5, 8), (5, -1, 8), (5, 5, 0)])
def test_impossible_sizes_are_named(new, replays, size):
    with pytest.raises(ValueError, match="cannot be composed"):
        minibatch.compose(new, replays, size, drop_remainder=True)
