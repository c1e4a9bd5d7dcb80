"""What the settings of an event do, one by one; `test_learner_oracle` has the arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.small_learner import BASE, event_of, fresh, learn, learns, same

from qlrjax import presets
from qlrjax.training import learner
from qlrjax.training.rates import rates_at, renorm_limits


def test_padding_changes_nothing_but_the_lottery():
    """What is learned is the same; who is admitted may differ, but is never a padded row."""
    (plain, _), (padded, _) = learn(BASE, events=1), learn(BASE, events=1, pad_to=15)
    learned = [(s.training, s.memory.filled) for s in (plain, padded)]
    for a, b in zip(*map(jax.tree.leaves, learned), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    codes, labels = event_of(np.random.default_rng(0), 12)
    label_of = {row.tobytes(): label for row, label in zip(codes, labels, strict=True)}
    for seed in range(20):  # 8 of 12: a lottery with padded rows would nearly always show
        memory = learn(BASE, events=1, pad_to=15, seed=seed)[0].memory
        rows = [row.tobytes() for row in np.asarray(memory.data)]
        assert len(set(rows)) == 8
        assert [label_of[row] for row in rows] == list(np.asarray(memory.labels))


def test_running_statistics_are_kept():
    state, losses = learn(dataclasses.replace(BASE, normalization="running"), events=1)
    assert same(state.training.statistics, fresh(BASE).training.statistics)
    assert not same(state.training.params, fresh(BASE).training.params)
    assert np.isfinite(losses).all()


def test_head_only_leaves_the_layers():
    protocol = dataclasses.replace(BASE, train_layers=False, classifier="cwr*")
    state, _ = learn(protocol, events=1)
    start = fresh(BASE).training
    assert same(state.training.params["layers"], start.params["layers"])
    assert same(state.training.statistics, start.statistics)
    assert np.any(np.asarray(state.training.kept.head.weight))


@pytest.mark.parametrize(
    ("classifier", "center", "slots", "consolidates"),
    [
        ("auto", 0.0, 8, True),
        ("auto", 0.02, 8, False),
        ("auto", 0.0, 0, False),
        ("plain", 0.0, 8, False),
        ("cwr*", 0.02, 0, True),
    ],
)
def test_which_head_answers(classifier, center, slots, consolidates):
    """The consolidated head, or the one that was trained last."""
    protocol = dataclasses.replace(BASE, classifier=classifier, center_momentum=center)
    state, _ = learn(protocol, slots)
    head = learner.predicting(learns(protocol, slots), state)["head"]
    assert np.array_equal(head, state.training.params["head"]) != consolidates
    if consolidates:
        np.testing.assert_array_equal(head, state.training.kept.head.weight)


def test_synaptic_strength_holds_the_layers():
    """What event 0 found important moves less in event 1; the pull is towards event 0's end."""
    slow = dataclasses.replace(BASE, epochs=20, learning_rate=5e-5, weight_decay=0.0)
    strong = dataclasses.replace(slow, synaptic_strength=1e6)

    def moved(protocol):
        before, _ = learn(protocol, slots=0, events=1, pad_to=12)
        after, _ = learn(protocol, slots=0, events=2, pad_to=12)
        steps = jax.tree.map(
            lambda old, new: float(jnp.sum((new - old) ** 2)),
            before.training.params["layers"],
            after.training.params["layers"],
        )
        return np.sqrt(sum(jax.tree.leaves(steps))), after.training.kept.synapses

    free, none = moved(slow)
    held, synapses = moved(strong)
    assert none is None
    assert held < 0.8 * free
    importance = jax.tree.leaves(synapses.importance)
    assert max(float(leaf.max()) for leaf in importance) > 0
    assert all(float(leaf.min()) >= 0 for leaf in importance)


def test_the_momentum_is_cleared_once():
    """With a rate of nearly 0 in event 1, the old momentum would still move the parameters."""
    protocol = dataclasses.replace(BASE, learning_rate=1e-30)
    before, _ = learn(protocol, slots=0, events=1, pad_to=12)
    after, _ = learn(protocol, slots=0, events=2, pad_to=12)
    assert same(before.training.params["layers"], after.training.params["layers"])
    trace = next(part.trace for part in after.training.optimizer if hasattr(part, "trace"))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(trace))


def test_a_seed_decides_everything():
    one, again, other = learn(BASE), learn(BASE), learn(BASE, seed=1)
    assert same(one, again)
    assert not same(one[0].memory.data, other[0].memory.data)


@pytest.mark.parametrize(
    ("overshoot", "ends"), [(True, (1.251904, 0.503808)), (False, (1.25, 0.5))]
)
def test_the_published_renorm_schedule(overshoot, ends):
    """5.248e-3 a mini-batch of 128, while below 1.25 and 0.5: 48 steps for r_max, 96 for d_max.

    The published code stops once it is beyond the ends, so that it stops beyond them.
    """
    protocol = presets.preset("ar1star-free").protocol
    assert protocol.renorm_overshoot
    protocol = dataclasses.replace(protocol, renorm_overshoot=overshoot)
    first = rates_at(protocol, 0)
    at = {
        step: renorm_limits(protocol, first, jnp.asarray(step, jnp.int32), 128)
        for step in (0, 1, 47, 48, 95, 96, 200)
    }
    assert (float(at[0].r_max), float(at[0].d_max)) == (1.0, 0.0)
    assert float(at[1].d_max) == pytest.approx(5.248e-3)
    assert float(at[47].r_max) < 1.25 <= float(at[48].r_max)
    assert float(at[95].d_max) < 0.5 <= float(at[96].d_max)
    assert (float(at[200].r_max), float(at[200].d_max)) == pytest.approx(ends)
    later = renorm_limits(protocol, rates_at(protocol, 1), jnp.asarray(9, jnp.int32), 128)
    assert (float(later.r_max), float(later.d_max)) == (1.25, 0.5)


def test_the_published_rates():
    protocol = presets.preset("ar1star-free").protocol
    first, later = rates_at(protocol, 0), rates_at(protocol, 1)
    assert float(first.learning_rate) == pytest.approx(1e-3)
    assert float(first.renorm_momentum) == pytest.approx(0.01)
    assert float(later.learning_rate) == pytest.approx(5e-5)
    assert float(later.renorm_momentum) == pytest.approx(5e-5)
    assert same(later, rates_at(protocol, 390))
    assert (protocol.minibatch, protocol.first_epochs, protocol.epochs) == (128, 4, 4)
    assert (protocol.momentum, protocol.weight_decay) == (0.9, 5e-4)
    assert (protocol.synaptic_strength, protocol.drop_remainder) == (0.0, True)
    assert (protocol.normalization, protocol.classifier) == ("renorm", "cwr*")
