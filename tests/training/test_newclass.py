"""A class that comes late: only its own column moves, to where float64 NumPy says."""

import jax
import jax.numpy as jnp
import numpy as np

from qlrjax import weights
from qlrjax.network import mobilenet_v1
from qlrjax.runs import grow
from qlrjax.training import adaptive, learner, newclass, replay
from qlrjax.training.protocol import Protocol

LAYER, CLASSES = 25, 4


def taught_learner():
    """A tiny learner that has seen classes 0 to 2 of 4; class 3 is new."""
    network = mobilenet_v1(0.25, (40, 24), CLASSES)
    params, statistics = adaptive.init(network, weights.random(network, 1), LAYER)
    memory = replay.init(9, network.latent_shape(LAYER), 7, 4.0)
    protocol = Protocol(learning_rate=0.01, first_learning_rate=0.01, minibatch=8)
    state = learner.init(network, LAYER, protocol, params, statistics, memory)
    generator = np.random.default_rng(2)
    codes = generator.integers(0, 256, (12, *network.latent_shape(LAYER))).astype(np.uint8)
    labels = np.arange(12, dtype=np.int32) % 3
    state, _ = learner.learn_event(
        network, LAYER, protocol, state, jnp.asarray(codes), labels, event=0, seed=0
    )
    photos = generator.integers(0, 256, (5, *network.latent_shape(LAYER))).astype(np.uint8)
    return network, protocol, state, photos


def test_only_the_new_column_moves_and_it_is_the_float64_fit():
    network, protocol, state, photos = taught_learner()
    before = jax.tree.map(jnp.copy, state)
    real = [np.asarray(photos, np.float32) * np.float32(4.0 / 255)]
    real.append(np.asarray(replay.read(state.memory, jnp.arange(9, dtype=jnp.int32))))
    inputs = [
        np.asarray(
            adaptive.features(
                network, LAYER, state.training.params, state.training.statistics, jnp.asarray(x)
            )[0],
            np.float64,
        )
        for x in real
    ]
    changed, losses = newclass.learn(network, LAYER, protocol, state, photos, 3, seed=0)
    expected = float64_fit(np.concatenate(inputs), before.head.weight[:, :3], 5, protocol)
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
    network, protocol, state, photos = taught_learner()
    grown = grow.with_classes(network, CLASSES + 1)
    assert grown.classes == CLASSES + 1
    changed, _ = newclass.learn(network, LAYER, protocol, state, photos, 3, seed=0)
    assert float(changed.head.past[3]) == 5.0
