"""All 391 events of CORe50's official NICv2 order, run 0, with generated images at 32x32.

Few frames a pair, but every event, every new class and every admission of a real session.
"""

import numpy as np
import pytest

from qlrjax import metrics, session
from qlrjax.settings import Settings
from qlrjax.streams import cut, nicv2, synthetic
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

SLOTS, FRAMES = 120, 3


def stream():
    source = synthetic.source(50, 11, FRAMES, (32, 32))
    pairs = nicv2.official_order(391, 0)
    order = [[(where, item - 1) for where, item in event] for event in pairs]
    return cut.by_sessions(source, (3, 7, 10), order, reduced_test=True)


@pytest.mark.long
def test_all_391_events(monkeypatch):
    data = stream()
    monkeypatch.setattr(session, "open_stream", lambda *_: data)
    settings = Settings(
        latent_layer=27,
        replays=SLOTS,
        bits=8,
        weights="random:0:0.25",
        resolution=32,
        calibration_images=10,
        stream=StreamSettings(data="generated"),
        protocol=Protocol(minibatch=32, first_epochs=2, epochs=1, learning_rate=0.01),
    )
    work = session.prepare(settings)
    assert work.events == 391
    assert len(data.events[0]) == 10 * FRAMES
    assert all(len(event) == FRAMES for event in data.events[1:])
    labels = data.source.labels
    seen, filled, new_classes = set(), 0, 0
    before = np.full(SLOTS, -1)
    start = session.start(work)
    for event, (state, record) in enumerate(session.learn_all(work, start)):
        memory = state.learner.memory
        after = np.asarray(memory.labels)
        present = set(labels[data.events[event]].tolist())
        assert record["new_classes"] == len(present - seen)
        new_classes += bool(present - seen) and event > 0
        seen |= present
        # h = slots // (i + 1) of the event, free slots first; nothing else in the memory changes.
        admitted = min(SLOTS // (event + 1), record["images"])
        changed = np.flatnonzero(after != before)
        assert len(changed) <= admitted
        assert set(after[changed].tolist()) <= present
        assert set(after[after >= 0].tolist()) <= seen
        filled = min(SLOTS, filled + admitted)
        assert record["replays_filled"] == filled == (after >= 0).sum()
        assert (np.asarray(state.introduced) <= event).sum() == len(seen)
        past = np.asarray(state.learner.training.kept.head.past)
        assert set(np.flatnonzero(past).tolist()) == seen
        before = after
    assert len(seen) == 50
    assert new_classes == 40
    assert filled == SLOTS
    matrix = np.asarray(state.accuracy)
    assert matrix.shape == (391, 50)
    counts = np.bincount(work.test_labels, minlength=50)
    tested = counts > 0
    assert not np.isnan(matrix[:, tested]).any()
    assert np.isnan(matrix[:, ~tested]).all()
    summary = metrics.summarize(matrix, np.asarray(state.introduced), counts)
    assert summary.accuracy > 2 * 100 / 50  # twice chance
