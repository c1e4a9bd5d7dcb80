"""Nearest class mean against float64 NumPy, whatever the order and the size of events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax import weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, evaluate, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import NearestMean, named

CLASSES = 5
CUT = Cut(mobilenet_v1(0.25, (40, 24), CLASSES), 26)
LATENT_MAX = 4.0


def latents_of(label, count, seed):
    looks = np.random.default_rng(label).integers(0, 150, CUT.latent_shape)
    noise = np.random.default_rng([label, seed]).integers(0, 100, (count, *CUT.latent_shape))
    return (looks + noise).astype(np.uint8)


def fresh(learns):
    memory = replay.init(0, CUT.latent_shape, 8, LATENT_MAX)
    return learner.init(learns, *adaptive.init(CUT, weights.random(CUT.network, 1)), memory)


def taught(strategy, groups, pad_to=None):
    """A learner after events with the given labels."""
    learns = Learner(CUT, Protocol(), strategy)
    state = fresh(learns)
    for number, labels in enumerate(groups):
        latents = np.concatenate([latents_of(label, 6, number) for label in labels])
        data = EventData(jnp.asarray(latents), np.repeat(np.int32(labels), 6), number, 0, pad_to)
        before = jax.tree.map(np.asarray, (state.training.params, state.training.statistics))
        state, losses = learner.learn_event(learns, state, data)
        assert losses.shape == (0,)
        after = (state.training.params, state.training.statistics)
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))
    return learns, state


def features(state, latents):
    values = jnp.asarray(latents, jnp.float32) * np.float32(LATENT_MAX / 255)
    params, statistics = state.training.params, state.training.statistics
    return np.asarray(adaptive.features(CUT, params, statistics, values)[0], float)


EVENTS = [(0, 2), (3,), (2, 3, 0), (0,)]


STRATEGIES = [
    NearestMean(),
    NearestMean(metric="mahalanobis", shrinkage=0.2),
    NearestMean(metric="mahalanobis", shrinkage=0.2, power=0.5),
    NearestMean(power=0.5),
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_are_the_nearest_means_in_float64(strategy):
    learns, state = taught(strategy, EVENTS, pad_to=20)
    groups = [(label, number) for number, labels in enumerate(EVENTS) for label in labels]
    x = np.concatenate([features(state, latents_of(label, 6, number)) for label, number in groups])
    x = x**strategy.power  # of ReLU6: never negative
    y = np.repeat([label for labels in EVENTS for label in labels], 6)
    known = [0, 2, 3]
    means = np.stack([x[y == label].mean(axis=0) for label in known])
    asked = np.concatenate([latents_of(label, 9, 99) for label in range(CLASSES)])
    z = features(state, asked) ** strategy.power
    if strategy.metric == "cosine":
        scores = z @ means.T / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    else:
        centred = x - means[[known.index(label) for label in y]]
        within = centred.T @ centred / (len(x) - len(known))
        sphere = np.trace(within) / len(within) * np.eye(len(within))
        inverse = np.linalg.inv(0.8 * within + 0.2 * sphere)
        off = z[:, None] - means[None]
        scores = -np.einsum("nkc,cd,nkd->nk", off, inverse, off)
    got = evaluate.logits(learns, state, asked)
    assert np.isneginf(got[:, [1, 4]]).all()
    # Scores differ by what all classes share, and by a factor where there is one.
    ours, theirs = got[:, known] - got[:, [0]], scores - scores[:, [0]]
    if strategy.metric == "mahalanobis":
        np.testing.assert_allclose(2 * ours, theirs, rtol=2e-3, atol=2e-3 * np.abs(theirs).max())
    best = np.sort(scores, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-4 * np.abs(best).max()
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(
        got.argmax(axis=1)[clear], np.array(known)[scores.argmax(axis=1)][clear]
    )


def test_the_order_of_events_does_not_matter():
    strategy = NearestMean(metric="mahalanobis")
    _, one = taught(strategy, [(0, 2), (3,)])
    learns = Learner(CUT, Protocol(), strategy)
    state = learner.init(
        learns,
        *adaptive.init(CUT, weights.random(CUT.network, 1)),
        replay.init(0, CUT.latent_shape, 8, LATENT_MAX),
    )
    for event, (label, number) in enumerate([(3, 1), (2, 0), (0, 0)]):
        labels = np.full(6, label, np.int32)
        data = EventData(jnp.asarray(latents_of(label, 6, number)), labels, event, 0)
        state, _ = learner.learn_event(learns, state, data)
    pairs = zip(*map(jax.tree.leaves, (one.training.kept, state.training.kept)), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(np.asarray(b)).max())


def test_settings_name_it():
    protocol = Protocol(classifier="ncm-mahalanobis", shrinkage=0.3)
    assert named(protocol, 0) == NearestMean(metric="mahalanobis", shrinkage=0.3)
    assert named(Protocol(classifier="ncm-cosine"), 0) == NearestMean()
    protocol = Protocol(classifier="ncm-cosine", feature_power=0.5)
    assert named(protocol, 0) == NearestMean(power=0.5)


def test_a_power_keeps_signs():
    """Linear bottlenecks have negative features."""
    raised = adaptive.raised(jnp.asarray([[-4.0, 0.0, 9.0]]), jnp.asarray(0.5))
    np.testing.assert_allclose(raised, [[-2.0, 0.0, 3.0]], rtol=1e-6)
