"""The presets ar1star-free and ar1star against the published loop: six events, every accident.

`support/published_loop` is that loop in float64. Nothing is left out of the presets but sizes:
fewer latents, a smaller mini-batch, and rates at which six events change something. The momentum is
a sum of gradients, which masks of ReLU that differ by rounding touch most: it agrees to 1e-2 of its
length, the importance to 2e-3 and all else to 2e-4.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from support import published_loop

from qlrjax import presets, weights
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, draws, learner, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.strategies import named

SEED, CLASSES, SLOTS, SIZE = 5, 8, 30, 8
# Of 19 latents the first 5 are repeated, so that the memory has 24 rows for good; 30 slots ask for
# 2 new and 6 replayed latents in a mini-batch, whose fifth one finds no replays left.
EVENTS = ((19, (0, 2)), (10, (2, 5)), (11, (5,)), (10, (0, 7)), (13, (3, 2)), (12, (7, 3)))
CONFIG = published_loop.Config(
    mb_size=SIZE,
    rm_sz=SLOTS,
    init_lr=5e-3,
    inc_lr=1e-3,
    train_ep=2,
    momentum=0.9,
    l2=5e-4,
    init_update_rate=0.05,
    inc_update_rate=0.01,
    max_r_max=1.25,
    max_d_max=0.5,
    inc_step=0.013,
)


def protocol(preset, strength):
    """The preset's, at this test's sizes and rates."""
    return dataclasses.replace(
        presets.preset(preset).protocol,
        minibatch=SIZE,
        first_epochs=2,
        epochs=2,
        first_learning_rate=CONFIG.init_lr,
        learning_rate=CONFIG.inc_lr,
        first_renorm_momentum=CONFIG.init_update_rate,
        renorm_momentum=CONFIG.inc_update_rate,
        renorm_step=CONFIG.inc_step,
        synaptic_strength=strength,
    )


def events(cut):
    """float32 latents, all different, of classes that look different."""
    random = np.random.default_rng(1)
    looks = np.maximum(random.normal(0.4, 0.8, (CLASSES, *cut.latent_shape)), 0)
    for count, present in EVENTS:
        labels = random.choice(present, count).astype(np.int32)
        labels[: len(present)] = present
        noise = np.maximum(random.normal(0, 0.3, (count, *cut.latent_shape)), 0)
        yield (looks[labels] + noise).astype(np.float32), labels


def order_of(event, new):
    """The draw that both sides share."""
    key, _ = draws.split(draws.start("jax", SEED, event))
    return draws.permutation(draws.fold_in(key, 0), new)


def close(ours, theirs, what, tolerance):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    scale = max(np.abs(theirs).max(), 1e-30)
    off = np.abs(ours - theirs).max() / scale
    assert off <= tolerance, (what, off)


def lengths_close(ours, theirs, what, tolerance):
    """Of every tensor, the length of the difference by its own length."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
        own = functools.reduce(lambda tree, key: tree[key.key], path, ours)
        off = np.linalg.norm(np.asarray(own, np.float64) - leaf)
        assert off <= tolerance * np.linalg.norm(leaf), (what + jax.tree_util.keystr(path), off)


def trees_close(ours, theirs, what, tolerance=2e-4):
    for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
        own = functools.reduce(lambda tree, key: tree[key.key], path, ours)
        close(own, leaf, what + jax.tree_util.keystr(path), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "strength"), [("ar1star-free", 0.0), ("ar1star", 300.0)])
@pytest.mark.parametrize("latent_layer", [pytest.param(25, marks=pytest.mark.long), 27])
def test_six_events(preset, strength, latent_layer):
    cut = Cut(mobilenet_v1(0.25, (64, 96), CLASSES, activation="relu"), latent_layer)
    parameters = weights.random(cut.network, 2)
    rules = protocol(preset, strength)
    learns = Learner(cut, rules, named(rules, SLOTS))
    params, statistics = adaptive.init(cut, parameters, rules.epsilon_in_std)
    memory = replay.init(SLOTS, cut.latent_shape, 32)
    state = learner.init(learns, params, statistics, memory)
    config = dataclasses.replace(CONFIG, ewc_lambda=strength)
    model = published_loop.start(cut, config, parameters)
    for event, (latents, labels) in enumerate(events(cut)):
        padded = len(labels) + (-len(labels) % SIZE if event == 0 else 0)
        state, losses = learner.learn_event(
            learns, state, EventData(jax.numpy.asarray(latents), labels, event, SEED)
        )
        expected, offered, offered_labels = published_loop.learn(
            model, latents, labels, order_of(event, padded)
        )
        where = f"event {event}: "
        close(losses, expected, where + "loss", 2e-4)
        trees_close(state.training.params, model.params, where + "params")
        trees_close(state.training.statistics, model.statistics, where + "statistics")
        trace = next(part for part in state.training.optimizer if hasattr(part, "trace")).trace
        lengths_close(trace, model.momentum, where + "momentum", 1e-2)
        saved = state.training.kept.head
        for label, column in model.saved.items():
            close(saved.weight[:, label], column, where + f"class {label}", 2e-4)
        np.testing.assert_array_equal(saved.past, model.past)
        if strength and latent_layer == 25:
            for name, total in model.cumulated.items():
                mine = state.training.kept.synapses.importance[name]["weight"]
                close(mine, -total, where + f"importance of {name}", 2e-3)
        filled = int(state.memory.filled)
        published_loop.admit(
            model,
            offered,
            offered_labels,
            np.asarray(state.memory.data)[:filled].reshape(filled, *cut.latent_shape),
            np.asarray(state.memory.labels)[:filled],
        )
        assert filled == 24
        answering = learner.predicting(learns, state)["head"]
        close(answering, published_loop.predicting_head(model), where + "head", 2e-4)
        unseen = set(range(CLASSES)) - set(model.saved)
        assert not unseen or np.abs(np.asarray(answering)[:, sorted(unseen)]).max() > 0
