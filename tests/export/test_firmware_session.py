"""Whole sessions in the firmware's host build against JAX: integers bit for bit, floats to 1e-4."""

import dataclasses
import shutil

import numpy as np
import pytest
from support import firmware

COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler named cc"),
]
PROTOCOL = firmware.PROTOCOL


def change(**settings):
    return dataclasses.replace(PROTOCOL, **settings)


# A head alone diverges at 0.01 on these latents (its loss grows), and rounding with it.
SLOWLY = {"first_learning_rate": 1e-3, "learning_rate": 1e-3}
SESSIONS = {
    "two layers, renorm": dict(cut=25, bits=6),
    "two layers, running": dict(
        cut=25, bits=8, protocol=change(normalization="running", classifier="cwr*")
    ),
    "two layers, batch norm": dict(
        cut=25, bits=5, protocol=change(normalization="batch", center_momentum=0.0)
    ),
    "head only": dict(
        cut=27,
        bits=6,
        convention="pytorch",
        activation="relu",
        protocol=change(center_momentum=0.0, **SLOWLY),
    ),
    "frozen layers above the cut": dict(cut=25, bits=7, protocol=change(train_layers=False)),
    "memory that is never full": dict(
        cut=27,
        bits=6,
        slots=100,
        classes=10,
        protocol=change(**SLOWLY),
    ),
    "plain head": dict(cut=27, bits=8, protocol=change(classifier="plain", **SLOWLY)),
    "no replays": dict(cut=25, bits=8, slots=0),
    "dropped remainder, reshuffled": dict(
        cut=26, bits=3, protocol=change(drop_remainder=True, reshuffle=True)
    ),
    "four layers, relu": dict(cut=23, bits=7, activation="relu", convention="pytorch"),
}


def events(twin, count=5):
    sizes = [17, 11, 13, 7, 12][:count]
    return [twin.random.integers(0, twin.network.classes - 1, size) for size in sizes]


# The others take ten seconds or more and share what they test with these.
QUICK = ("two layers, renorm", "two layers, running", "head only", "plain head", "no replays")
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in SESSIONS]


@pytest.mark.parametrize("name", CASES)
def test_five_events_are_those_of_jax(name, tmp_path):
    twin = firmware.Twin(**SESSIONS[name])
    twin.export(tmp_path)
    board = firmware.client().Learner.run(firmware.build_host(tmp_path), cwd=tmp_path)
    firmware.run_events(board, twin, events(twin))
    whole, floats = firmware.differences(board, twin.arrays())
    images = twin.images(np.arange(24) % twin.network.classes)
    answers = [board.predict(image.tobytes()) for image in images]
    board.quit()
    assert whole == 0
    # A momentum is a sum of gradients, which batch norm makes small differences of large numbers.
    momenta = [floats.pop("momentum"), floats.pop("head_momentum")]
    if not twin.protocol.train_layers:  # JAX follows what it never applies
        momenta.pop(0)
    assert max(floats.values()) < 1e-4, floats
    assert max(momenta) < 2e-3, momenta
    logits = twin.logits(images)
    assert [np.argmax(row) for _, row in answers] == logits.argmax(axis=1).tolist()
    seen = np.where(twin.firmware().past > 0, logits, -np.inf)
    assert [best for best, _ in answers] == seen.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"synaptic_strength": 1.0}, "--synaptic-strength 0"),
        ({"classifier": "ncm-cosine"}, r"--classifier plain or cwr\*"),
        ({"classifier": "cwr*", "consolidation": "entries"}, "--consolidation class"),
        ({"admission": "reservoir"}, "--admission quota"),
        ({"memory_grows": False}, "--memory-grows"),
        ({"short_minibatches": True}, "no short_minibatches = True"),
        ({"head_rate": 3.0}, "no head_rate = 3.0; it learns with 1.0"),
    ],
)
def test_ways_that_the_firmware_does_not_have_are_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        firmware.Twin(cut=27, protocol=change(**settings)).firmware()


def test_a_late_class_is_that_of_jax(tmp_path):
    """Two events know classes 0 to 4; class 5 comes alone, and a third event goes on."""
    twin = firmware.Twin(cut=25, bits=6)
    twin.export(tmp_path)
    board = firmware.client().Learner.run(firmware.build_host(tmp_path), cwd=tmp_path)
    first, second, third = events(twin, 3)
    firmware.run_events(board, twin, [first, second])
    labels = np.full(9, 5)
    images = twin.images(labels)
    for image in images:
        assert board.observe(image.tobytes(), 5) == 0
    losses = twin.learn_class(twin.latents(images), 5)
    status, steps, first_loss, last_loss = board.learn(late=True)
    assert (status, steps) == (0, 300)
    np.testing.assert_allclose([first_loss, last_loss], losses[[0, -1]], rtol=2e-4, atol=1e-5)
    firmware.run_events(board, twin, [third])
    assert board.observe(images[0].tobytes(), 5) == 0
    assert board.learn(late=True)[0] == -5  # it is known by now
    whole, floats = firmware.differences(board, twin.arrays())
    board.quit()
    assert whole == 0
    parts = ("layers", "mean", "deviation", "center", "head", "past")
    assert max(floats[name] for name in parts) < 1e-4
