"""Properties that must hold for any sizes: latent codes, admission, composition of mini-batches."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from support import examples, oracle

from qlrjax.integer import latent_codes
from qlrjax.training import minibatch, replay

SHAPE = (1, 2, 3)
FLOATS = st.floats(0, 1, width=32)
ENCODE, ADMIT = jax.jit(replay.encode), jax.jit(replay.admit)


@given(st.integers(1, 8), st.floats(1e-3, 1e3), hnp.arrays(np.float32, (64,), elements=FLOATS))
def test_a_quantized_latent_is_within_half_a_step(bits, a_max, shares):
    latents = (shares.astype(np.float64) * a_max).astype(np.float32)
    codes = latent_codes.quantize(jnp.asarray(latents), a_max, bits)
    assert codes.dtype == jnp.uint8
    assert int(codes.max()) <= 2**bits - 1
    step = a_max / (2**bits - 1)
    back = np.asarray(latent_codes.dequantize(codes, a_max, bits), np.float64)
    # Half a step, and a few last digits of float32 at a tie.
    assert np.abs(back - latents).max() <= step / 2 + 4e-7 * a_max


@given(st.integers(1, 8), st.floats(1e-3, 1e3))
def test_latents_outside_the_range_are_clipped(bits, a_max):
    latents = jnp.asarray([-1.0, 2 * a_max, 0.0, a_max], jnp.float32)
    codes = latent_codes.quantize(latents, a_max, bits)
    top = 2**bits - 1
    np.testing.assert_array_equal(codes, [0, top, 0, top])


@given(st.integers(1, 8), hnp.arrays(np.uint8, (3, *SHAPE)))
def test_narrowing_from_8_bits_is_quantizing_the_value(bits, codes):
    """encode() of integer codes against the float rule on the values that they stand for."""
    memory = replay.init(3, SHAPE, bits, 1.0)
    packed = np.asarray(ENCODE(memory, jnp.asarray(codes)))
    for row, original in zip(packed, codes.reshape(3, -1), strict=True):
        expected = np.floor(original / 255 * (2**bits - 1) + 0.5)
        np.testing.assert_array_equal(oracle.unpack(row, bits, original.size), expected)


def tagged(count, start):
    """Latents that can be told apart by their codes, and labels that repeat the tag."""
    tags = np.arange(start, start + count)
    latents = np.zeros((count, *SHAPE), np.uint8)
    latents[:, 0, 0, 0], latents[:, 0, 0, 1] = tags % 256, tags // 256
    return jnp.asarray(latents), jnp.asarray(tags, jnp.int32)


@settings(max_examples=examples.at_least(40))
@given(
    st.sampled_from([1, 5, 12]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.data(),
)
def test_admission_never_loses_or_duplicates(slots, events, seed, data):
    """Any series of events: used slots come first, no latent twice, kept ones untouched."""
    memory = replay.init(slots, SHAPE, 8, 1.0)
    start, filled = 0, 0
    for event, count in enumerate(events):
        latents, labels = tagged(9, start)  # nine rows, `count` of them valid
        valid = np.zeros(9, bool)
        valid[data.draw(st.permutations(range(9)))[:count]] = True
        admitted = replay.quota(slots, event, count)
        before = np.asarray(memory.labels)
        memory = ADMIT(
            memory,
            jax.random.key(seed + event),
            latents,
            labels,
            jnp.asarray(valid),
            jnp.asarray(admitted, jnp.int32),
        )
        after = np.asarray(memory.labels)
        changed = after != before
        new = after[changed]
        assert changed.sum() == admitted
        assert len(set(new)) == admitted
        assert set(new) <= set(np.asarray(labels)[valid])
        filled = max(filled, min(slots, filled + admitted))
        assert int(memory.filled) == filled
        assert (after[:filled] >= 0).all()
        assert (after[filled:] == -1).all()
        # Free slots are used up before a latent is overwritten.
        overwritten = (before[changed] >= 0).sum()
        assert overwritten == max(0, admitted - (before == -1).sum())
        # Data and labels move together.
        codes = np.asarray(memory.data)[:filled].astype(int)
        np.testing.assert_array_equal(codes[:, 0] + 256 * codes[:, 1], after[:filled])
        start += 9


def test_admission_reaches_every_slot_and_every_latent():
    """Uniform, as a chi-square with a generous bound: 2,000 draws of 2 of 6 into 2 of 4."""
    latents, labels = tagged(6, 0)
    full = replay.init(4, SHAPE, 8, 1.0)
    full = full.replace(labels=jnp.full(4, 99, jnp.int32), filled=jnp.asarray(4, jnp.int32))
    keys = jax.random.split(jax.random.key(0), 2000)

    def admitted(key):
        count = jnp.asarray(2, jnp.int32)
        return replay.admit(full, key, latents, labels, jnp.ones(6, bool), count).labels

    after = np.asarray(jax.jit(jax.vmap(admitted))(keys))
    slots = (after != 99).sum(axis=0)
    taken = np.bincount(after[after != 99], minlength=6)
    assert slots.sum() == taken.sum() == 4000
    for counts in (slots, taken):
        expected = 4000 / len(counts)
        assert ((counts - expected) ** 2 / expected).sum() < 20


# ar1-pytorch's and the paper's h = memory / number of the event, counted from 1; by hand.
@pytest.mark.parametrize(
    ("slots", "new", "event", "admitted"),
    [
        (1500, 2999, 0, 1500),
        (1500, 294, 0, 294),
        (1500, 1000, 1, 750),
        (1500, 1000, 2, 500),
        (1500, 294, 2, 294),
        (3000, 300, 390, 7),
        (1500, 300, 390, 3),
        (500, 300, 390, 1),
        (390, 300, 390, 0),
        (7, 100, 1, 3),
        (1, 1, 0, 1),
        (1, 1, 1, 0),
        (0, 300, 0, 0),
    ],
)
def test_quota_is_the_published_rule(slots, new, event, admitted):
    assert replay.quota(slots, event, new) == admitted


def test_every_event_keeps_the_same_share_of_the_memory():
    """What the rule is for: after 6 large events, each holds 10 of 60 slots on average."""
    events = 6
    memory = replay.init(60, SHAPE, 8, 1.0)
    labels = [jnp.full(80, event, jnp.int32) for event in range(events)]

    def filled(key):
        filling = memory
        for event in range(events):
            count = jnp.asarray(replay.quota(60, event, 80), jnp.int32)
            own = jax.random.fold_in(key, event)
            latents = jnp.zeros((80, *SHAPE), jnp.uint8)
            filling = replay.admit(filling, own, latents, labels[event], jnp.ones(80, bool), count)
        return filling.labels

    drawn = np.asarray(jax.jit(jax.vmap(filled))(jax.random.split(jax.random.key(1), 400)))
    shares = np.array([(drawn == event).sum(axis=1).mean() for event in range(events)])
    # The count of an event in one memory deviates by less than sqrt(10); 400 memories by 0.16.
    np.testing.assert_allclose(shares, 10, atol=5 * 0.16)


# N, memory, new and replayed per mini-batch, mini-batches an epoch: computed from ar1-pytorch.
@pytest.mark.parametrize(
    ("new", "slots", "share", "replayed", "count"),
    [
        (300, 500, 50, 78, 6),
        (300, 1500, 21, 107, 14),
        (300, 3000, 12, 116, 25),
        (299, 3000, 11, 117, 27),
    ],
)
def test_composition_of_the_published_sizes(new, slots, share, replayed, count):
    rule = minibatch.compose(new, slots, 128, drop_remainder=True)
    assert (rule.new, rule.size - rule.new, rule.count) == (share, replayed, count)


SIZES = st.sampled_from([1, 2, 23, 64])  # a permutation is compiled for each


@settings(max_examples=examples.at_least(60))
@given(
    SIZES,
    st.integers(0, 90),
    st.integers(1, 32),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 5),
)
def test_every_epoch_meets_every_new_latent_once(new, replays, size, epochs, reshuffle, padding):
    rule = minibatch.compose(new, replays, size, drop_remainder=False)
    rows = new + padding
    plan = minibatch.plan(jax.random.key(7), rule, new, rows, replays, epochs, reshuffle)
    assert plan.shape == (epochs * rule.count, rule.size)
    assert plan.min() >= 0
    assert not ((plan >= new) & (plan < rows)).any()  # never a padded row
    assert plan.max() < rows + replays
    for epoch in plan.reshape(epochs, rule.count, rule.size):
        met = np.bincount(epoch[epoch < new], minlength=new)
        if replays:
            np.testing.assert_array_equal(met, 1)
            others = epoch[epoch >= rows] - rows
            # Replays are read in storage order, cyclically: counts differ by one at most.
            counts = np.bincount(others, minlength=replays)
            assert counts.max() - counts.min() <= 1
        else:  # without replays the last mini-batch wraps to the event's first latents
            assert met.min() >= 1
            assert met.sum() == rule.count * rule.size
            assert met.sum() - new < rule.size


@given(SIZES, st.integers(1, 90), st.integers(2, 32))
def test_dropping_the_remainder_repeats_nothing(new, replays, size):
    rule = minibatch.compose(new, replays, size, drop_remainder=True)
    plan = minibatch.plan(jax.random.key(3), rule, new, new, replays, 2, reshuffle=False)
    first, second = plan.reshape(2, rule.count, rule.size)
    np.testing.assert_array_equal(first, second)  # ar1-pytorch: the same slices every epoch
    met = np.bincount(first[first < new], minlength=new)
    assert met.max() <= 1
    assert new - met.sum() < rule.new
