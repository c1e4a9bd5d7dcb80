"""Classes join and leave, whatever the strategy: all others answer as before."""

import functools

import numpy as np
import pytest

import qlrjax
from qlrjax.runs import grow
from qlrjax.settings import StreamSettings
from qlrjax.training import evaluate
from qlrjax.training.learner import Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import Ar1Star, CwrStar, Lowest, NearestMean, Strategy

SETTINGS = qlrjax.Settings(
    replays=11,
    resolution=32,
    weights="random:0:0.25",
    evaluate_every=100,
    protocol=Protocol(first_epochs=1, epochs=1, minibatch=16),
    stream=StreamSettings(data="synthetic:5x3x4"),
)
STRATEGIES = [
    CwrStar(Lowest(balanced=True)),
    Strategy(Lowest()),
    Ar1Star(),
    NearestMean(),
    NearestMean(metric="mahalanobis", shrinkage=0.3),
]


@functools.cache
def learned(strategy):
    session = qlrjax.prepare(SETTINGS, strategy=strategy)
    state = qlrjax.start(session)
    for changed, _ in qlrjax.learn_all(session, state):
        state = changed
    return session, state


def logits(session, strategy, state):
    cut = session.cut.with_classes(state.introduced.shape[0])
    learner = Learner(cut, SETTINGS.protocol, strategy)
    return evaluate.logits(learner, state.learner, session.test_latents)


def close(ours, theirs):
    """To 2e-3 of how far logits of an image lie apart; what all of them share says nothing."""
    ours, theirs = (one - one.mean(axis=1, keepdims=True) for one in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


def stored(memory):
    """Label and bytes of every stored latent."""
    filled = int(memory.filled)
    rows = zip(np.asarray(memory.labels)[:filled], np.asarray(memory.data)[:filled], strict=True)
    return [(int(label), row.tobytes()) for label, row in rows]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_class_is_forgotten_or_removed_and_the_others_stay(strategy):
    session, state = learned(strategy)
    before, past = logits(session, strategy, state), strategy.past(state.learner.training.kept)
    others = [0, 1, 3, 4]
    forgot = grow.forget_class(state, strategy, 2)
    removed = grow.remove_class(state, strategy, 2)
    np.testing.assert_array_equal(
        strategy.past(forgot.learner.training.kept), np.asarray(past) * [1, 1, 0, 1, 1]
    )
    np.testing.assert_array_equal(
        strategy.past(removed.learner.training.kept), np.asarray(past)[others]
    )
    close(logits(session, strategy, forgot)[:, others], before[:, others])
    close(logits(session, strategy, removed), before[:, others])
    had = stored(state.learner.memory)
    assert stored(forgot.learner.memory) == [one for one in had if one[0] != 2]
    moved = [(label - (label > 2), row) for label, row in had if label != 2]
    assert stored(removed.learner.memory) == moved


@pytest.mark.parametrize("strategy", STRATEGIES[:2], ids=repr)
def test_tickets_move_with_their_latents(strategy):
    _, state = learned(strategy)
    forgot = grow.forget_class(state, strategy, 2)

    def ticketed(one):
        tickets = np.asarray(one.learner.training.kept.admission)
        filled = int(one.learner.memory.filled)
        assert (tickets[filled:] == 1).all()
        return list(zip(stored(one.learner.memory), tickets[:filled].tolist(), strict=True))

    assert ticketed(forgot) == [row for row in ticketed(state) if row[0][0] != 2]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_class_joins_and_nothing_else_changes(strategy):
    session, state = learned(strategy)
    grown = grow.add_class(state, strategy)
    close(logits(session, strategy, grown)[:, :5], logits(session, strategy, state))
    np.testing.assert_array_equal(np.asarray(strategy.past(grown.learner.training.kept))[5], 0)
    assert stored(grown.learner.memory) == stored(state.learner.memory)
