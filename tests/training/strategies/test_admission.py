"""Reservoir and balanced admission: invariants of any stream, and the distribution they are for."""

import itertools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from support import examples

from qlrjax.training import draws, replay
from qlrjax.training.strategies import Lowest, Offer, Quota

SHAPE = (1, 1, 3)


def offer(tags, labels, valid, number, key):
    """Latents that carry their tag in their codes."""
    latents = np.zeros((len(tags), *SHAPE), np.uint8)
    latents[:, 0, 0, 0], latents[:, 0, 0, 1] = np.asarray(tags) % 256, np.asarray(tags) // 256
    return Offer(
        jnp.asarray(latents),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(valid),
        jnp.asarray(number, jnp.int32),
        key,
    )


def stored_tags(memory):
    codes = np.asarray(memory.data)[: int(memory.filled)].astype(int)
    return codes[:, 0] + 256 * codes[:, 1]


@settings(max_examples=examples.at_least(25), deadline=None)
@given(
    st.sampled_from([0, 1, 5, 12]),
    st.booleans(),
    st.sampled_from(["jax", "portable"]),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=5),
    st.integers(0, 999),
)
def test_any_stream_keeps_the_memory_whole(slots, balanced, generator, events, seed):
    """No latent twice, data beside its label, used slots first, nothing lost while there is room;
    and a latent that left never comes back."""
    rule = Lowest(balanced)
    memory = replay.init(slots, SHAPE, 8, 1.0)
    state = rule.start(memory)
    label_of, gone, tag = {}, set(), 0
    for number, labels in enumerate(events):
        tags = np.arange(tag, tag + 9)
        valid = np.arange(9) < len(labels)
        padded = np.resize(labels, 9)
        label_of |= dict(zip(tags[valid].tolist(), padded[valid].tolist(), strict=True))
        tag += 9
        before = set(stored_tags(memory).tolist())
        key = draws.start(generator, seed, number)
        state, memory = rule.admit(state, memory, offer(tags, padded, valid, number, key))
        now = stored_tags(memory).tolist()
        assert len(set(now)) == len(now) == int(memory.filled) == min(slots, len(label_of))
        assert [label_of[one] for one in now] == np.asarray(memory.labels)[: len(now)].tolist()
        assert (np.asarray(memory.labels)[len(now) :] == -1).all()
        assert (np.asarray(state)[: len(now)] < 1).all()
        assert (np.asarray(state)[len(now) :] == 1).all()
        assert not gone & set(now)
        gone |= before - set(now)
        if balanced and slots:
            counts = np.bincount([label_of[one] for one in now], minlength=4)
            offered = np.bincount(list(label_of.values()), minlength=4)
            # A class has fewer than another only where it never had more to give.
            assert (counts >= np.minimum(offered, counts.max() - 1)).all()


def distribution(balanced):
    """How often each of 30 latents in three uneven events is stored in six slots; 2,000 draws."""
    labels = [0] * 12 + [1] * 3 + [0] * 9 + [2] * 6
    cuts = (0, 15, 24, 30)

    def once(key):
        rule, memory = Lowest(balanced), replay.init(6, SHAPE, 8, 1.0)
        state = rule.start(memory)
        for number, (a, b) in enumerate(itertools.pairwise(cuts)):
            own = jax.random.fold_in(key, number)
            made = offer(range(a, b), labels[a:b], np.ones(b - a, bool), number, own)
            state, memory = rule.admit(state, memory, made)
        return memory.data[:, 0]

    drawn = np.asarray(jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), 2000)))
    return np.bincount(drawn.ravel(), minlength=30) / 2000, np.array(labels)


def test_a_reservoir_is_uniform_over_the_stream():
    """Each with 6 / 30; a share of 2,000 draws deviates by less than 0.009."""
    shares, _ = distribution(balanced=False)
    np.testing.assert_allclose(shares, 0.2, atol=5 * 0.009)


def test_balanced_is_uniform_within_equal_classes():
    """Two of each class, whatever the stream brought: 2/21, 2/3 and 2/6."""
    shares, labels = distribution(balanced=True)
    for label, expected in ((0, 2 / 21), (1, 2 / 3), (2, 2 / 6)):
        np.testing.assert_allclose(shares[labels == label], expected, atol=5 * 0.011)


@pytest.mark.parametrize("grows", [True, False])
def test_a_memory_that_does_not_grow_keeps_the_first_events_size(grows):
    """Ten slots, six latents, then events of four: ar1-pytorch writes over used slots only."""
    rule, memory = Quota(grows), replay.init(10, SHAPE, 8, 1.0)
    sizes, tag = [], 0
    for number, count in enumerate((6, 4, 4)):
        before = stored_tags(memory)
        made = offer(
            range(tag, tag + count),
            [0] * count,
            np.ones(count, bool),
            number,
            jax.random.key(number),
        )
        _, memory = rule.admit(None, memory, made)
        now = stored_tags(memory)
        assert len(set(now.tolist())) == len(now)
        admitted = min(10 // (number + 1), count)
        assert (now >= tag).sum() == admitted
        if not grows and number:
            assert (now != before).sum() == admitted
        sizes.append(int(memory.filled))
        tag += count
    assert sizes == ([6, 10, 10] if grows else [6, 6, 6])
