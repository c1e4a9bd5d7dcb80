"""What a session costs in numbers that no clock changes: programs, transfers, arithmetic."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

from qlrjax import session
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training import adaptive, draws, evaluate, learner, minibatch, replay
from qlrjax.training.learner import EventData, Learner
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import named

COMPILED = "/jax/core/compile/backend_compile_duration"
BASE = Settings(
    latent_layer=25,
    replays=8,
    weights="random:1:0.25",
    resolution=32,
    calibration_images=12,
    stream=StreamSettings(data="synthetic:4x4x6", first_classes=2),
    protocol=Protocol(minibatch=8),
)


@pytest.fixture
def compiled():
    """Grows with everything that XLA compiles, or that is read from what it compiled."""
    programs = []

    def heard(name, _seconds, **_):
        if name == COMPILED:
            programs.append(name)

    monitoring.register_event_duration_secs_listener(heard)
    yield programs
    monitoring.unregister_event_duration_listener(heard)


def test_one_program_learns_the_first_event_and_one_all_later_ones(compiled):
    jax.clear_caches()
    work = session.prepare(BASE)
    states = session.learn_all(work, session.start(work))
    after = []
    for _ in states:
        after.append((learner._learn._cache_size(), evaluate._logits._cache_size(), len(compiled)))
    assert len(after) > 6
    assert [learned for learned, _, _ in after] == [1] + [2] * (len(after) - 1)
    assert [tested for _, tested, _ in after] == [1] * len(after)
    assert len({count for _, _, count in after[1:]}) == 1  # nothing at all from the third event on
    assert after[0][2] < after[1][2]
    # The same stream without replays: a strategy of its own, the same test.
    other = session.with_settings(work, dataclasses.replace(BASE, replays=0))
    before = len(compiled)
    for _ in session.learn_all(other, session.start(other)):
        pass
    assert learner._learn._cache_size() == 4
    assert len(compiled) > before


def prepared(latent_layer, protocol, width=1.0, side=128):
    """A learner with a full memory, its state and the arrays of an event of 100 latents."""
    network = mobilenet_v1(width, (side, side), classes=50)
    cut = Cut(network, latent_layer)
    learns = Learner(cut, protocol, named(protocol, 500))
    random = np.random.default_rng(0)
    parameters = {
        layer.name: {
            "weight": random.normal(0, 0.1, layer.weight_shape).astype(np.float32),
            **{name: np.ones(layer.out_channels, np.float32) for name in ("gamma", "variance")},
            **{name: np.zeros(layer.out_channels, np.float32) for name in ("beta", "mean")},
        }
        for layer in network.layers[:-1]
    }
    memory = replay.init(500, cut.latent_shape, 8, 6.0, 0.0)
    memory = memory.replace(filled=jnp.asarray(500, jnp.int32))
    state = learner.init(learns, *adaptive.init(cut, parameters), memory)
    latents = jnp.ones((100, *cut.latent_shape), jnp.uint8)
    data = EventData(latents, np.zeros(100, np.int32), 1, 0)
    return learns, state, learner._prepare(protocol, memory, data)


def lowered(learns, state, event):
    """The program of an event; of plain arrays, since shapes in signatures are checked here."""
    leaves, tree = jax.tree.flatten((state, event))

    def learn(*leaves):
        return jax.tree.leaves(learner._learn(learns, *jax.tree.unflatten(tree, leaves)))

    return jax.jit(learn).lower(*leaves)


def test_an_event_is_one_program_without_the_host():
    learns, state, event = prepared(25, Protocol(minibatch=16), width=0.25, side=32)
    text = lowered(learns, state, event).as_text()
    for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv"):
        assert word not in text
    jax.block_until_ready((state, event))
    with jax.transfer_guard("disallow"):
        changed, losses = learner._learn(learns, state, event)
        jax.block_until_ready((changed, losses))
    assert np.isfinite(np.asarray(losses)).all()
    with pytest.raises(Exception, match="isallow"), jax.transfer_guard("disallow"):
        jnp.add(losses, np.float32(1))  # the guard would have seen one


@pytest.mark.parametrize("latent_layer", [19, 23, 27])
def test_a_step_convolves_nothing_and_counts_the_arithmetic_of_its_layers(latent_layer):
    """Three products a layer (forward, weights, inputs), of which the first needs no third."""
    learns, state, event = prepared(latent_layer, Protocol())
    program = lowered(learns, state, event)
    text = program.as_text()
    assert "stablehlo.convolution" not in text
    assert "stablehlo.dot_general" in text
    layers = learns.cut.above
    macs = event.plan.shape[1] * (3 * sum(layer.macs for layer in layers) - layers[0].macs)
    flops = program.cost_analysis()["flops"]  # of the loop's body once: one mini-batch
    # Beside products: normalisation, decoding, the optimizer, admission.
    assert 1.0 < flops / (2 * macs) < 1.1


def test_a_batch_of_tests_moves_few_bytes_beside_its_latents_and_weights():
    learns, state, _ = prepared(27, Protocol())
    latents = jnp.zeros((128, *learns.cut.latent_shape), jnp.uint8)
    arguments = (learner.predicting(learns, state), state.training.statistics, latents)
    cost = evaluate._logits.lower(learns.cut, (6.0, 0.0), *arguments).compile().cost_analysis()
    least = latents.nbytes + 4 * latents.size + 4 * learns.cut.features * 50
    assert least <= cost["bytes accessed"] < 4 * least


def test_a_second_test_moves_no_latents_to_the_device_and_has_the_plain_path_s_bits():
    work = session.prepare(BASE)
    *_, (state, _) = session.learn_all(work, session.start(work))
    tests, count = work.test_latents, len(work.test_latents)
    plain = evaluate.logits(work.learner, state.learner, tests)
    placed = work.tests_on_device
    assert placed is work.tests_on_device
    assert placed is not None
    assert sum(batch.shape[0] for batch in placed) >= count
    before = evaluate._logits._cache_size()
    with jax.transfer_guard_host_to_device("disallow_explicit"):
        again = evaluate.logits_of(work.learner, state.learner, placed, count)
    assert evaluate._logits._cache_size() == before
    np.testing.assert_array_equal(again, plain)
    # The guard sees what the plain path copies.
    with (
        pytest.raises(Exception, match="isallow"),
        jax.transfer_guard_host_to_device("disallow_explicit"),
    ):
        evaluate.logits(work.learner, state.learner, tests)


def test_latents_that_are_large_are_not_kept_twice(monkeypatch):
    work = session.prepare(BASE)
    state = session.start(work)
    monkeypatch.setattr(evaluate, "_ON_DEVICE_BYTES", work.test_latents.nbytes - 1)
    large = session.prepare(BASE)
    assert large.tests_on_device is None
    assert session.test(work, state, 0)[1] == session.test(large, state, 0)[1]


def test_epochs_in_one_order_draw_it_once(monkeypatch):
    drawn = []
    plain = minibatch.draws.permutation

    def counted(key, count):
        drawn.append(count)
        return plain(key, count)

    monkeypatch.setattr(minibatch.draws, "permutation", counted)
    key = draws.start("portable", 0, 1)
    composition = minibatch.compose(30, 20, 16, False)
    once = minibatch.plan(key, composition, 30, 32, 20, 4, False)
    assert drawn == [30]
    first, *others = np.split(once, 4)
    assert all(np.array_equal(first, other) for other in others)
    minibatch.plan(key, composition, 30, 32, 20, 4, True)
    assert drawn == [30] * 5
