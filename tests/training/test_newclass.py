"""A class that comes late: only its own column moves, to where float64 NumPy says."""

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax import weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, learner, newclass, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol

CLASSES = 4


def taught_learner():
    """A tiny learner that has seen classes 0 to 2 of 4; class 3 is new."""
    network = mobilenet_v1(0.25, (40, 24), CLASSES)
    cut = Cut(network, 25)
    params, statistics = adaptive.init(cut, weights.random(network, 1))
    memory = replay.init(9, cut.latent_shape, 7, 4.0)
    protocol = Protocol(learning_rate=0.01, first_learning_rate=0.01, minibatch=8)
    taught = Learner(cut, protocol)
    state = learner.init(taught, params, statistics, memory)
    generator = np.random.default_rng(2)
    codes = generator.integers(0, 256, (12, *cut.latent_shape)).astype(np.uint8)
    labels = np.arange(12, dtype=np.int32) % 3
    state, _ = learner.learn_event(taught, state, EventData(jnp.asarray(codes), labels, 0, seed=0))
    photos = generator.integers(0, 256, (5, *cut.latent_shape)).astype(np.uint8)
    return taught, state, photos


def test_only_the_new_column_moves_and_it_is_the_float64_fit():
    taught, state, photos = taught_learner()
    before = jax.tree.map(jnp.copy, state)
    real = [np.asarray(photos, np.float32) * np.float32(4.0 / 255)]
    real.append(np.asarray(replay.read(state.memory, jnp.arange(9, dtype=jnp.int32))))
    inputs = [
        np.asarray(
            adaptive.features(
                taught.cut, state.training.params, state.training.statistics, jnp.asarray(x)
            )[0],
            np.float64,
        )
        for x in real
    ]
    changed, losses = newclass.learn(taught, state, photos, 3, seed=0)
    expected = float64_fit(np.concatenate(inputs), before.head.weight[:, :3], 5, taught.protocol)
    column = np.asarray(changed.head.weight)[:, 3]
    np.testing.assert_allclose(column, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(np.asarray(changed.head.weight)[:, :3], before.head.weight[:, :3])
    for name in ("layers",):
        same = jax.tree.map(
            np.array_equal, changed.training.params[name], before.training.params[name]
        )
        assert all(jax.tree.leaves(same))
    assert losses[-1] < losses[0]
    assert int(changed.event) == 2
    assert (np.asarray(changed.memory.labels) == 3).sum() == 9 // 2


def float64_fit(features, old_columns, photos, protocol):
    """300 steps of gradient descent with momentum 0.9 and rate 5e-3 on the new column."""
    is_new = np.arange(len(features)) < photos
    rest = np.log(np.exp(features @ np.asarray(old_columns, np.float64)).sum(axis=1))
    column = np.zeros(features.shape[1])
    momentum = np.zeros_like(column)
    for _ in range(300):
        share = 1 / (1 + np.exp(rest - features @ column))
        gradient = features.T @ (share - is_new) / len(features)
        momentum = 0.9 * momentum + gradient + protocol.weight_decay * column
        column = column - 5e-3 * momentum
    return column


def test_a_grown_learner_knows_the_new_class_afterwards():
    taught, state, photos = taught_learner()
    assert taught.cut.with_classes(CLASSES + 1).classes == CLASSES + 1
    changed, _ = newclass.learn(taught, state, photos, 3, seed=0)
    assert float(changed.head.past[3]) == 5.0
