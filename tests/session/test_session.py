"""A tiny session end to end: every way to run one learns, and learns the same twice."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qlrjax import session
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training import replay
from qlrjax.training.protocol import Protocol

CLASSES, FRAMES = 4, 6
BASE = Settings(
    latent_layer=25,
    replays=24,
    bits=7,
    weights="random:1:0.25",
    resolution=32,
    seed=4,
    calibration_images=12,
    evaluate_every=2,
    stream=StreamSettings(data=f"synthetic:{CLASSES}x4x{FRAMES}", first_classes=2),
    protocol=Protocol(
        minibatch=8,
        first_epochs=4,
        epochs=4,
        first_learning_rate=0.02,
        learning_rate=0.01,
        renorm_momentum=0.01,
        # One class an event, of noise: only an average of heads knows more than the last one.
        classifier="cwr*",
        center_momentum=0.0,
    ),
)


@functools.cache
def prepared(latent_layer=25, frozen="int8"):
    return session.prepare(dataclasses.replace(BASE, latent_layer=latent_layer, frozen=frozen))


def learn(work):
    records = []
    state = session.start(work)
    for changed, record in session.learn_all(work, state):
        state = changed
        records.append(record)
    return state, records


@functools.cache
def base():
    return learn(prepared())


def test_it_learns_and_records_what_happened():
    work, (state, records) = prepared(), base()
    # 4 classes in 3 training sessions are 12 pairs: 2 in the first event, then one by one.
    assert [record["images"] for record in records] == [2 * FRAMES] + [FRAMES] * 10
    assert int(state.position) == int(state.learner.event) == work.events == 11
    assert records[-1]["accuracy"] > 0.5  # chance is 0.25
    assert (np.asarray(state.introduced) < 11).all()
    assert sum(record["new_classes"] for record in records) == CLASSES
    tested = [event for event, record in enumerate(records) if "accuracy" in record]
    assert tested == [1, 3, 5, 7, 9, 10]  # every second one, and the last
    matrix = np.asarray(state.accuracy)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(matrix).any(axis=1)), tested)
    np.testing.assert_allclose(matrix[-1], records[-1]["class_accuracy"])
    assert records[0]["loss_first"] == pytest.approx(np.log(CLASSES))


def test_the_memory_is_what_the_settings_say():
    work, (state, records) = prepared(), base()
    memory = state.learner.memory
    elements = work.cut.latent_elements
    assert memory.bytes == 24 * -(-elements * 7 // 8) == records[-1]["replay_bytes"]
    filled = 0
    for event, record in enumerate(records):
        filled = min(24, filled + replay.quota(24, event, record["images"]))
        assert record["replays_filled"] == filled


def test_stored_latents_are_those_of_images_with_their_label():
    work, (state, _) = prepared(), base()
    memory = state.learner.memory
    images = np.concatenate(work.stream.events)
    latents = work.extractor(work.stream.source.read(images)).reshape(len(images), -1)
    codes = np.floor(latents / 255 * 127 + 0.5).astype(np.uint8)
    labels = {
        row.tobytes(): label
        for row, label in zip(codes, work.stream.source.labels[images], strict=True)
    }
    stored = replay.read(memory, jnp.arange(int(memory.filled), dtype=jnp.int32))
    scale = memory.latent_max / 127
    stored = np.rint(np.asarray(stored) / scale).astype(np.uint8).reshape(len(stored), -1)
    for row, label in zip(stored, np.asarray(memory.labels), strict=False):
        assert labels[row.tobytes()] == label


def test_twice_is_bit_for_bit_the_same():
    state, records = base()
    again, repeated = learn(prepared())
    assert records == repeated
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_is_another_session():
    work = session.with_settings(prepared(), dataclasses.replace(BASE, seed=5))
    state, _ = learn(work)
    assert (np.asarray(state.learner.memory.data) != base()[0].learner.memory.data).any()


VARIANTS = {
    "no replays": (25, "int8", {"replays": 0}),
    "float replays": (25, "int8", {"bits": 32}),
    "float stage": (25, "float32", {}),
    "head only": (27, "int8", {}),
    "the default's head": (25, "int8", {"protocol": Protocol(minibatch=8)}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_run_and_fill_the_matrix(name):
    latent_layer, frozen, changes = VARIANTS[name]
    base_work = prepared(latent_layer, frozen)
    work = session.with_settings(
        base_work, dataclasses.replace(base_work.settings, evaluate_every=1, **changes)
    )
    state, records = learn(work)
    assert not np.isnan(np.asarray(state.accuracy)).any()
    assert all(np.isfinite(record["loss_last"]) for record in records)
    memory = state.learner.memory
    assert int(memory.filled) == memory.slots == changes.get("replays", 24)
    if changes.get("bits") == 32:
        assert memory.bytes == 24 * 4 * work.cut.latent_elements
    if frozen == "float32":
        assert work.test_latents.dtype == np.float32
        assert work.extractor.quantized.stage == ()
    if not changes.get("replays", 1):  # plain fine-tuning forgets, replays do not: same events
        assert records[-1]["accuracy"] < base()[1][-1]["accuracy"]


@pytest.mark.long
def test_native_rehearsal_stores_images():
    """l = 0: nothing is frozen, codes are pixels, everything is trained."""
    settings = dataclasses.replace(
        BASE,
        latent_layer=0,
        bits=8,
        replays=6,
        stream=dataclasses.replace(BASE.stream, data="synthetic:2x2x6"),
        protocol=dataclasses.replace(BASE.protocol, first_epochs=1, epochs=1),
    )
    work = session.prepare(settings)
    state, records = learn(work)
    memory = state.learner.memory
    assert memory.latent_max == 255.0
    assert memory.bytes == 6 * 32 * 32 * 3
    images = work.stream.source.read(np.concatenate(work.stream.events))
    pixels = {image.tobytes() for image in images}
    assert {row.tobytes() for row in np.asarray(memory.data)} <= pixels
    assert np.isfinite(records[-1]["loss_last"])


@pytest.mark.parametrize(
    "change",
    [
        {"latent_layer": 26},
        {"frozen": "float32"},
        {"weights": "random:2:0.25"},
        {"resolution": 40},
        {"calibration_images": 5},
        {"stream": StreamSettings(data="synthetic:5x4x6")},
    ],
)
def test_what_would_change_the_stage_is_refused(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))} cannot change"):
        session.with_settings(prepared(), dataclasses.replace(BASE, **change))


def test_a_loss_that_explodes_is_named():
    protocol = dataclasses.replace(BASE.protocol, first_learning_rate=1e30)
    work = session.with_settings(prepared(), dataclasses.replace(BASE, protocol=protocol))
    with pytest.raises(FloatingPointError, match="event 0: the loss is not finite"):
        learn(work)


def test_images_of_another_size_are_named():
    with pytest.raises(
        ValueError, match=r"images are uint8\[40, 32, 3\]; .* takes uint8\[32, 32, 3\]"
    ):
        prepared().extractor(np.zeros((1, 40, 32, 3), np.uint8))


def test_images_of_another_type_are_named_without_the_tests_type_checker():
    """`conftest` checks annotations, which users do not have: so this asks a plain process."""
    script = (
        "import numpy as np\n"
        "from qlrjax.integer import extractor, quantize\n"
        "from qlrjax.network import Cut, mobilenet_v1\n"
        "stage = quantize.QuantizedStage((), {})\n"
        "made = extractor.Extractor(Cut(mobilenet_v1(0.25, (32, 32), 2), 25), stage, None)\n"
        "made(np.zeros((1, 32, 32, 3), np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last == "ValueError: images are float32[32, 32, 3]; this network takes uint8[32, 32, 3]"
