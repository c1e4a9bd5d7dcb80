"""A class that comes late: only its own column moves, and the new class is known afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from qlrjax import weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, evaluate, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import LateClass, named

CLASSES = 4
CUT = Cut(mobilenet_v1(0.25, (40, 24), CLASSES), 25)
SHAPE = CUT.latent_shape
PROTOCOL = Protocol(first_learning_rate=0.01, first_epochs=20, minibatch=12, classifier="cwr*")
RUN = named(PROTOCOL, 9)
LEARNER = Learner(CUT, PROTOCOL, RUN)


def photos_of(label, count, seed):
    """Latents that differ, but share what the class looks like."""
    looks = np.random.default_rng(100 + label).integers(0, 200, SHAPE)
    noise = np.random.default_rng(seed).integers(0, 56, (count, *SHAPE))
    return (looks + noise).astype(np.uint8)


def taught_learner():
    """A tiny learner that has seen classes 0 to 2 of 4; class 3 is new."""
    params, statistics = adaptive.init(CUT, weights.random(CUT.network, 1))
    state = learner.init(LEARNER, params, statistics, replay.init(9, SHAPE, 7, 4.0))
    codes = np.concatenate([photos_of(label, 4, 2) for label in range(3)])
    labels = np.repeat(np.arange(3, dtype=np.int32), 4)
    state, _ = learner.learn_event(LEARNER, state, EventData(jnp.asarray(codes), labels, 0, seed=0))
    return state


def lesson(state, photos):
    """One event with photos of class 3."""
    late = LateClass(run=RUN, weight_decay=PROTOCOL.weight_decay)
    data = EventData(jnp.asarray(photos), np.full(len(photos), 3, np.int32), 1, seed=0)
    return learner.learn_event(Learner(CUT, PROTOCOL, late), state, data)


def features(state, latents):
    """float64 inputs of the head, centered."""
    training = state.training
    seen = adaptive.features(CUT, training.params, training.statistics, jnp.asarray(latents))[0]
    return np.asarray(seen, np.float64) - np.asarray(training.center, np.float64)


def objective(column, inputs, old_columns, is_new):
    """Cross-entropy of new or not; the same with half the decay, which is convex; its gradient."""
    others = np.logaddexp.reduce(inputs @ old_columns, axis=1)
    own = inputs @ column
    both = np.logaddexp(own, others)
    loss = np.mean(both - np.where(is_new, own, others))
    slope = inputs.T @ (np.exp(own - both) - is_new) / len(inputs) + PROTOCOL.weight_decay * column
    return loss, loss + PROTOCOL.weight_decay / 2 * column @ column, slope


def test_only_the_new_column_moves_and_it_nears_the_minimum():
    """Three photos look just like old ones, so what the old columns say matters much.

    The fit stops early on purpose: four fifths of the way to the minimum are asked for.
    """
    state = taught_learner()
    photos = np.concatenate([photos_of(3, 2, 3), photos_of(0, 1, 2), photos_of(1, 2, 2)])
    before = jax.tree.map(jnp.copy, state)
    old = np.asarray(before.training.kept.head.weight, np.float64)[:, :3]
    replays = replay.read(state.memory, jnp.arange(9, dtype=jnp.int32))
    inputs = features(before, np.concatenate([photos * np.float32(4.0 / 255), replays]))
    changed, losses = lesson(state, photos)

    column = np.asarray(changed.training.kept.head.weight, np.float64)[:, 3]
    case = (inputs, old, np.arange(len(inputs)) < 5)
    start, zero = np.zeros(len(column)), objective(np.zeros(len(column)), *case)
    best = scipy.optimize.minimize(
        lambda w: objective(w, *case)[1:], start, jac=True, method="L-BFGS-B"
    )
    assert best.fun < objective(column, *case)[1] < best.fun + 0.2 * (zero[1] - best.fun)
    np.testing.assert_allclose(losses[0], zero[0], rtol=1e-5)
    np.testing.assert_allclose(losses[-1], objective(column, *case)[0], rtol=0.05)

    for kept in (changed.training.kept, before.training.kept):
        np.testing.assert_array_equal(np.asarray(kept.head.weight)[:, :3], old.astype(np.float32))
    same = jax.tree.map(
        np.array_equal, changed.training.params["layers"], before.training.params["layers"]
    )
    assert all(jax.tree.leaves(same))
    assert int(changed.event) == 2
    assert (np.asarray(changed.memory.labels) == 3).sum() == 9 // 2


def test_a_grown_network_has_one_logit_more():
    grown = CUT.with_classes(CLASSES + 1)
    assert grown.classes == CLASSES + 1
    assert grown.network.layers[:-1] == CUT.network.layers[:-1]


def test_the_new_class_is_known_afterwards_and_the_old_ones_still_are():
    """Asked with latents that were not learned; before the lesson, all of class 3 are mistaken."""
    asked = np.concatenate([photos_of(label, 20, 9) for label in range(CLASSES)])
    labels = np.repeat(np.arange(CLASSES), 20)

    def right(state):
        logits = evaluate.logits(LEARNER, state, asked)
        logits = np.where(np.asarray(state.training.kept.head.past) > 0, logits, -np.inf)
        return evaluate.class_accuracy(logits.argmax(axis=1), labels, CLASSES)

    state = taught_learner()
    np.testing.assert_array_equal(right(state), [1, 1, 1, 0])
    changed, _ = lesson(state, photos_of(3, 5, 3))
    np.testing.assert_array_equal(right(changed), [1, 1, 1, 1])
    np.testing.assert_array_equal(changed.training.kept.head.past, [4, 4, 4, 5])
