"""The portable generator against its definition in Python's integers; JAX's stays as it was."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlrjax.training import draws, minibatch, replay

WORD = 2**32 - 1


def mix(x):
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


def fold(*words):
    return functools.reduce(lambda k, w: mix(k ^ mix((w + 0x9E3779B9) & WORD)), words, 0)


@given(st.integers(0, 2**31 - 1), st.integers(0, 1000), st.integers(0, 20), st.integers(1, 300))
def test_a_permutation_sorts_the_tickets_of_the_definition(seed, event, epoch, count):
    order_key, _ = draws.split(draws.start("portable", seed, event))
    got = draws.permutation(draws.fold_in(order_key, epoch), count)
    tickets = [fold(seed, event, 0, epoch, index) for index in range(count)]
    assert len(set(tickets)) == count
    np.testing.assert_array_equal(got, sorted(range(count), key=tickets.__getitem__))


def test_known_values():
    """Fixed for good: the firmware and every exported session rest on them."""
    assert int(draws.start("portable", 0, 0)) == fold(0, 0)
    assert [fold(0), fold(1, 2), fold(2**31 - 1, 390, 1, 0, 77)] == [
        2926543089,
        3337343112,
        3649808272,
    ]
    order = draws.permutation(draws.start("portable", 3, 1), 8)
    assert order.tolist() == sorted(range(8), key=lambda i: fold(3, 1, i))


def test_tickets_are_even_and_keys_independent():
    """Chi-square of high and low bytes, and the correlation between neighbouring keys."""
    keys = [draws.start("portable", seed, event) for seed in range(4) for event in range(4)]
    rows = np.stack([np.asarray(draws.tickets(key, 4096)) for key in keys])
    for shift in (0, 8, 16, 24):
        counts = np.bincount(((rows >> shift) & 255).ravel(), minlength=256)
        assert ((counts - rows.size / 256) ** 2 / (rows.size / 256)).sum() < 350  # p = 1e-4
    off = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(off).max() < 5 / np.sqrt(4096)


@pytest.mark.parametrize(("slots", "filled", "new", "count"), [(9, 4, 6, 5), (5, 5, 8, 3)])
def test_admission_follows_the_definition(slots, filled, new, count):
    memory = dataclasses.replace(
        replay.init(slots, (1, 1, 4), 8), filled=jnp.asarray(filled, jnp.int32)
    )
    valid = np.arange(new) != 2
    latents = jnp.asarray(np.arange(4 * new).reshape(new, 1, 1, 4).astype(np.uint8))
    key = draws.fold_in(draws.start("portable", 11, 6), 1)
    after = jax.jit(replay.admit)(
        memory,
        key,
        latents,
        jnp.arange(new, dtype=jnp.int32),
        jnp.asarray(valid),
        jnp.asarray(count, jnp.int32),
    )
    chosen = sorted(np.flatnonzero(valid), key=lambda i: fold(11, 6, 1, 0, i))[:count]
    used = sorted(range(filled), key=lambda i: fold(11, 6, 1, 1, i))
    targets = [*range(filled, slots), *used][:count]
    expected = np.full(slots, -1)
    expected[targets] = chosen
    np.testing.assert_array_equal(after.labels, expected)
    np.testing.assert_array_equal(
        np.asarray(after.data)[targets], np.asarray(latents)[chosen, 0, 0]
    )


def test_jaxs_own_draws_are_those_of_before():
    """`admit` and the plan of 0.1.0 by jax.random, which runs and checkpoints rest on."""
    key = jax.random.fold_in(jax.random.key(5), 2)
    started = draws.start("jax", 5, 2)
    np.testing.assert_array_equal(jax.random.key_data(started), jax.random.key_data(key))
    plan_key, admit_key = draws.split(started)
    rule = minibatch.compose(7, 0, 7, False)
    plan = minibatch.plan(plan_key, rule, 7, 7, 0, 1, reshuffle=False)
    old = jax.random.permutation(jax.random.fold_in(jax.random.split(key)[0], 0), 7)
    np.testing.assert_array_equal(plan[0], old)
    memory = dataclasses.replace(replay.init(6, (1, 1, 1), 8), filled=jnp.asarray(4, jnp.int32))
    valid = jnp.asarray([True, False, True, True, True, True, True])
    labels = jnp.arange(7, dtype=jnp.int32)
    after = replay.admit(
        memory,
        admit_key,
        jnp.zeros((7, 1, 1, 1), jnp.uint8),
        labels,
        valid,
        jnp.asarray(5, jnp.int32),
    )
    new_key, slot_key = jax.random.split(jax.random.split(key)[1])
    lottery = np.where(valid, jax.random.uniform(new_key, (7,)), 2.0)
    raffle = np.where(np.arange(6) >= 4, np.arange(6) - 6.0, jax.random.uniform(slot_key, (6,)))
    expected = np.full(6, -1)
    expected[np.argsort(raffle)[:5]] = np.argsort(lottery)[:5]
    np.testing.assert_array_equal(after.labels, expected)
